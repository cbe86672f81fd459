"""How images compare: features of sets and distances between them, quality of single ones."""
