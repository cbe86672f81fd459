"""Toy City, version 1: streets drawn from a seed, with all 19 Cityscapes classes, in four domains.

**Frozen.** Published tables were made with these pictures. A change of anything that is drawn means a new ``VERSION``
(and that of ``render_city_config``), new tables, and new values in the test that holds it.

Domains (geometry, labels and depth do not depend on them):

``day``
    Five kinds of weather, from clear to hazy and a low evening sun.
``night``
    Street lamps (some broken), headlights, windows, wet streets; clipped, glaring, tinted, noisy: not invertible.
``fog``
    I = J · t + A · (1 − t), t = exp(−β z), in linear light with the true depth z; β from 0.015 to 0.06 per metre, drawn
    for each image; then paler. J is an overcast day.
``game``
    Another palette and sun, blurred and repeating textures, hard shadows, no noise; tone curve, bloom, vignette.

Splits ``train``, ``val``, ``test`` and ``held_out`` of every domain: no two of them, and no two domains, share a
street. Street ``n`` is of kind ``n % 8``, so every eighth of a split shows all classes. Files::

    <domain>/leftImg8bit/<split>/<city>/<city>_<street>_<frame>_leftImg8bit.png
    <domain>/gtFine/<split>/<city>/<city>_<street>_<frame>_gtFine_{labelIds,instanceIds}.png
    fog/clear/…_clear.png               J, as the day camera takes it
    fog/depth/…_depth.png               16 bit, centimetres along the optical axis; 0 is the sky
    {night,day}/leftImg8bit/pairs/…     the same street on two visits: up to 4 m apart, perhaps in another lane, other
                                        traffic, other parked cars; five night images share three day images
    pairs.csv                           night,day: paths below the root, one line for each night image
    night_pool/images/<number>.png      45 % as ``night``, 25 % too dark to read, 20 % twilight, 10 % day, shuffled
    night_pool/provenance.csv           name,look,street,frame: for analysis; no stage reads it

Pairs and pool are unlabeled, as Dark Zurich's training images are. What their labels would be lies under
``{night,day}/hidden/`` and ``night_pool/hidden/`` for analysis; of the loaders the split ``night_pairs_a`` alone reads
it, to score on streets that were adapted to.

``street`` decides a street, ``furnishing`` and ``traffic`` fill it with ``models``, ``raster`` finds out what each
pixel shows, ``appearance`` names the looks (``daylight``, ``darkness``, ``game``), ``writing`` stores the frames.
"""

from trainers.data.toy_city.appearance import DOMAINS
from trainers.data.toy_city.frame import Frame, render_frame
from trainers.data.toy_city.writing import plan_tree, write_tree

VERSION = 1
"""Rises with every change of what is drawn; pictures of two versions are two data sets."""

__all__ = ["DOMAINS", "VERSION", "Frame", "plan_tree", "render_frame", "write_tree"]
