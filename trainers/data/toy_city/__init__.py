"""Toy City: streets drawn from a seed, with all 19 Cityscapes classes, in several domains.

``street`` decides a street, ``furnishing`` and ``traffic`` fill it with ``models``, ``raster`` finds out what each
pixel shows, ``appearance`` lights it, ``writing`` stores it in the Cityscapes layout. A domain is one function from a
scene and its buffers to a picture, so geometry, labels and depth are the same in all of them.
"""

from trainers.data.toy_city.appearance import DOMAINS
from trainers.data.toy_city.frame import Frame, render_frame
from trainers.data.toy_city.writing import write_tree

VERSION = 0
"""Rises with every change of what is drawn; pictures of two versions are two data sets."""

__all__ = ["DOMAINS", "VERSION", "Frame", "render_frame", "write_tree"]
