"""Which images are near enough, and how many of them are taken: both bounds of a selection."""

from search_spaces import fid_threshold, unlabeled_ratio

METHOD = "selection"
SPACE = {**fid_threshold.SPACE, **unlabeled_ratio.SPACE}
