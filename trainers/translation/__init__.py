"""Image translation: networks and losses that turn images of one domain into images of another."""
