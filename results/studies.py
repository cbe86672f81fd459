"""The studies whose tables stand in the README: which arms, what they are measured by, what the documents say."""

from results.study_tables import Measure, Question, Study

LADDER = Study(
    experiment="gta5_to_cityscapes",
    preset="toy_city",
    target="day_test",
    source="game_test",
    arms=("source_only", "aug_1", "aug_2", "aug_1_2", "target", "bisenet_target", "deeplabv2_target"),
    said={
        "source_only": "15.1",
        "aug_1": "17.6",
        "aug_2": "21.0",
        "aug_1_2": "23.1",
        "bisenet_target": "52.5",
        "deeplabv2_target": "57.0",
    },
)
"""Table 3 of the GTA5 → Cityscapes document up to both augmentations, and the networks of its Tables 1 and 2."""

ADAPTATION = Study(
    experiment="game_to_day",
    preset="toy_city",
    target="day_test",
    source="game_test",
    arms=(
        "source_only",
        "aug12",
        "adabn",
        "fda",
        "fda_multiband",
        "dacs",
        "dacs_document",
        "reference",
        "fda_adabn",
        "dacs_adabn",
        "target_supervised",
    ),
    said={"source_only": "15.1", "aug12": "23.1", "fda": "26.4", "dacs_document": "32.1"},
)

DUSK = Study(
    experiment="day_to_dusk",
    preset="camvid",
    target="dusk_val",
    source="day_val",
    arms=("source_only", "adabn", "fda", "dacs"),
)

NIGHT_PAIRS = Study(
    experiment="bimix",
    preset="toy_city",
    target="night_test",
    source="day_test",
    arms=(
        "source_only",
        "adabn",
        "fda",
        "dacs",
        "dannet",
        "bimix_as_released",
        "bimix_best_on_report",
        "bimix",
        "only_source_to_night",
        "only_day_to_night",
        "no_consistency",
        "only_source_to_night_no_relighting",
        "bimix_other_streets",
        "target_supervised",
    ),
    also=("night_pairs_a", "night_test_s0.05", "night_test_s0.16"),
    unjudged=("bimix_best_on_report",),
)
"""The Bi-Mix document gives no numbers."""

BIMIX_QUESTIONS = (
    Question("Does mixing add to DANNet?", "dannet", "bimix", "night_test"),
    Question("The clean form, or the released one?", "bimix_as_released", "bimix", "night_test"),
    Question("Without Seg2Trans", "bimix", "only_source_to_night", "night_test"),
    Question("Without Trans2Seg", "bimix", "only_day_to_night", "night_test"),
    Question("Without consistency", "bimix", "no_consistency", "night_test"),
    Question("And no relighting", "only_source_to_night", "only_source_to_night_no_relighting", "night_test"),
    Question("Adapted to other streets", "bimix", "bimix_other_streets", "night_pairs_a"),
    Question("Optimism of the best of 20 on test", "bimix_as_released", "bimix_best_on_report", "night_test"),
)
"""What the document's ablations ask, and what its release's rule for checkpoints adds."""

SWEEPS = {"game_to_day-fda_beta": "day_test", "game_to_day-dacs": "day_test"}
"""Published sweeps over adaptation methods, and the set whose labels none of them read."""

NIGHT_SWEEPS = {"night_joint": "night_test"}
"""The same of the night study: loss, threshold and ratio together."""

NIGHT_TRANSLATION = Study(
    experiment="night_translation",
    preset="toy_city",
    target="night_test",
    source="day_test",
    arms=("day_only", "no_perceptual", "perceptual"),
    also=("night_test_as_day",),
    measures=(Measure("distance to night", "night_test", ("fid",)), Measure("to day", "day_test", ("fid",))),
    said={"day_only": "27.5", "no_perceptual": "31.5", "perceptual": "33.9"},
)
"""Table 4.2 of the night thesis, and its experiments 1.1, 2.1, 2.3, 3.1 and 3.3; "as day" it has 25.2 and 29.3."""

DEHAZING = Study(
    experiment="dehazing",
    preset="toy_city",
    target="fog",
    source="clear",
    arms=("no_dehazing", "pixel", "perceptual", "segmentation"),
    measures=(
        Measure("iIoU", "fog", ("iiou",)),
        Measure("PSNR (dB)", "fog", ("psnr",)),
        Measure("SSIM", "fog", ("ssim",)),
    ),
)

DOCUMENT_FIVE = Measure(
    "the document's five",
    "day_test",
    ("iou.wall", "iou.fence", "iou.pole", "iou.traffic_light", "iou.train"),
)
"""The classes that the label balancing document adds."""

RAREST_FIVE = Measure(
    "the five rarest here",
    "day_test",
    ("iou.traffic_light", "iou.traffic_sign", "iou.motorcycle", "iou.bicycle", "iou.fence"),
)
"""Those with the fewest pixels of Toy City's days."""

LABEL_BALANCING = Study(
    experiment="label_balancing",
    preset="toy_city",
    target="day_test",
    source="day_val",
    arms=(
        "baseline",
        "add_single",
        "add_multi",
        "recon",
        "recon_filtered",
        "traditional",
        "style",
        "rare_classes",
        "copy_paste",
        "copy_paste_recon",
    ),
    measures=(DOCUMENT_FIVE, RAREST_FIVE),
    said={
        "baseline": "77.31",
        "add_single": "78.65",
        "add_multi": "78.82",
        "recon": "79.41",
        "traditional": "77.31",
        "style": "78.82",
    },
)

BALANCING_QUESTIONS = tuple(
    Question(text, baseline, arm, "day_test", said=said if measure is None else "", measure=measure)
    for text, baseline, arm, said, measures in (
        ("Generated or pasted pixels, five classes", "copy_paste", "add_multi", "", (None, DOCUMENT_FIVE)),
        ("Generated or pasted pixels, all classes", "copy_paste_recon", "recon", "", (None, DOCUMENT_FIVE)),
        ("Generated, or rare classes drawn more often", "rare_classes", "recon", "", (None, DOCUMENT_FIVE)),
        ("Generated, or other colors", "traditional", "recon", "+2.10", (None, DOCUMENT_FIVE)),
        ("Generated, or nothing", "baseline", "recon", "+2.10", (None, DOCUMENT_FIVE)),
        ("Without what the baseline disagrees with", "recon", "recon_filtered", "", (None,)),
    )
    for measure in measures
)
"""Is the generator worth it: its images against what costs no generator, the maps being the same where they can."""

SELF_TRAINING = Study(
    experiment="night_self_training",
    preset="toy_city",
    target="night_test",
    source="day_test",
    arms=(
        "1.1", "1.2", "1.3", "2.1", "2.2", "3.1", "3.1_longer", "4.1", "5.2", "6.1", "6.1_legacy", "7.1", "7.2", "7.3",
        "8.1", "8.2", "8.3", "fda",
    ),
    measures=(Measure("distance of what was chosen", "night_test", ("fid",)),),
    said={
        "1.1": "27.5", "1.2": "27.1", "1.3": "29.0", "2.1": "31.5", "2.2": "28.8", "3.1": "33.9", "4.1": "34.2",
        "5.2": "34.7", "6.1": "26.9", "7.1": "38.8", "7.2": "39.3", "7.3": "33.1", "8.1": "37.8", "8.2": "39.5",
        "8.3": "40.7",
    },
)  # fmt: skip

DUSK_SELF_TRAINING = Study(
    experiment="night_self_training",
    preset="camvid",
    target="night_test",
    source="day_select",
    arms=("1.1", "1.2", "1.3", "2.1", "7.1"),
)
"""The same rows on photographs; ``night_test`` is the dusk of CamVid."""

SELF_TRAINING_QUESTIONS = tuple(
    Question(text, baseline, arm, "night_test", said=said)
    for text, baseline, arm, said in (
        ("Unlabeled days, from the network's own weights", "1.1", "1.2", "-0.4"),
        ("Unlabeled days, from what labeled ones taught", "1.1", "1.3", "+1.5"),
        ("Translated nights", "1.1", "2.1", "+4.0"),
        ("All unlabeled nights, unselected", "2.1", "2.2", "-2.7"),
        ("The perceptual loss of the translator", "2.1", "3.1", "+2.4"),
        ("Nights chosen by brightness", "3.1", "4.1", "+0.3"),
        ("Then translated nights alone", "3.1", "5.2", "+0.8"),
        ("Focal loss for cross-entropy", "3.1", "6.1", "-7.0"),
        ("Focal loss of the batch's mean", "3.1", "6.1_legacy", "-7.0"),
        ("That beside focal loss of each pixel", "6.1", "6.1_legacy", ""),
        ("More steps, and nothing unlabeled", "3.1", "3.1_longer", ""),
        ("Brightness, beside as many steps", "3.1_longer", "4.1", ""),
        ("Distance, beside as many steps", "3.1_longer", "7.1", ""),
        ("Nights chosen by distance", "3.1", "7.1", "+4.9"),
        ("Nights chosen by distance, not by brightness", "4.1", "7.1", "+4.6"),
        ("Both losses together, by distance", "7.1", "7.2", "+0.5"),
        ("Both losses together, by brightness", "4.1", "7.3", "-1.1"),
        ("Brightness after translated nights alone", "4.1", "8.1", "+3.6"),
        ("Then a round by distance", "8.1", "8.2", "+1.7"),
        ("And both losses together", "8.2", "8.3", "+1.2"),
    )
)
"""The claims of the night thesis, each as the arm that it changes."""
