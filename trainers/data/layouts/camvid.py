"""CamVid with its 11 classes: our day and dusk lists, and the folders of the SegNet tutorial."""

from pathlib import Path

from trainers.data.label_spaces import CAMVID
from trainers.data.samples import Dataset, Sample, inside, listed
from trainers.data.walker import Place, files_named

LISTS = {"day_train": 305, "day_val": 101, "dusk_adapt": 62, "dusk_val": 31}
SEGNET = {"train": 367, "val": 101, "test": 233}
LAYOUT = (
    f"images/, labels/ and {', '.join(f'{name}.txt' for name in LISTS)}; or train/, trainannot/, … of the SegNet "
    "tutorial"
)


def list_camvid(root: Path, split: str) -> list[Sample]:
    """``<split>.txt`` names stems of ``images/*.jpg`` (or .png) and ``labels/*.png``; SegNet has a folder per split."""
    if split in SEGNET:
        images = files_named(root / split, ".png", depth=1)
        return [Sample(image, root / f"{split}annot" / image.name) for image in images]
    samples = []
    for stem in sorted(set(listed(root, f"{split}.txt", LAYOUT))):  # The key knows which images: no order may matter.
        image = inside(root, f"images/{stem}.jpg")
        if not image.exists() and (png := image.with_suffix(".png")).exists():
            image = png
        samples.append(Sample(image, None if split == "dusk_adapt" else inside(root, f"labels/{stem}.png")))
    return samples


def camvid_places(root: Path, split: str) -> list[Place]:
    """The folders of the SegNet tutorial; our splits are lists."""
    return [Place(root / split), Place(root / f"{split}annot", "labels", ".png")] if split in SEGNET else []


CAMVID_DATASET = Dataset(
    splits=(*LISTS, *SEGNET),
    unlabeled=frozenset({"dusk_adapt"}),
    label_map=CAMVID,
    class_set="camvid11",
    list_samples=list_camvid,
    places=camvid_places,
    layout=LAYOUT,
    images=LISTS | SEGNET,
)
