"""Methods that choose what to train on: images of a pool, their pseudo-labels, generated images."""
