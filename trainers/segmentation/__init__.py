"""Methods that train or measure a segmenter."""
