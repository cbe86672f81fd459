"""Methods that adapt a segmenter to a domain without labels."""
