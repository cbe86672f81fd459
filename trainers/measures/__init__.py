"""What sets of images look like to a network: their features, and distances between them."""
