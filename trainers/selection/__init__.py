"""Methods that choose what to train on: pseudo-labels."""
