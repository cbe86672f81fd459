"""How right are the pseudo-labels of the night study? Against the pool's hidden labels, which nothing else reads.

``python -m tests.benchmarks.pseudo_label_accuracy --storage DIR --seeds 3``, where arms 7.1, 4.1 and 2.2 of
``night_self_training`` (Toy City) have run: pixels that are right, and mIoU, of each arm's labels, mean over seeds.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from orchestrator.artifacts import Store
from orchestrator.experiments import build
from orchestrator.graph import Seeds, plan
from trainers.data.datasets import DataSplit, label_map_of, open_split
from trainers.data.image_files import decode, read_label
from trainers.data.label_files import label_path
from trainers.data.label_spaces import class_ids, lookup_table
from trainers.errors import UserError
from trainers.evaluation import Scores, confusion_matrix, scores

LABELS = {"7.1": ("select_fid", "labels_fid_3_1"), "4.1": ("select_his", "labels_his_3_1"),
          "2.2": ("select_all", "labels_all_2_1")}  # fmt: skip
"""Arm → its selection and its pseudo-labels."""


def accuracy(storage: Path, arm: str, seed: int) -> Scores:
    """Of one arm's labels."""
    study, store = build("night_self_training", "toy_city"), Store(storage)
    planned = plan(study, study.arms[arm], seeds=Seeds(0, seed, "declared"), fingerprints=str)
    folders = []
    for name in ("city_pool", *LABELS[arm]):
        artifact = store.find(planned[name].method.name, planned[name].key)
        if artifact is None:
            raise UserError(f"{storage} lacks {name}: nightshift run night_self_training --arms {arm} makes it")
        folders.append(artifact.folder)
    city, selected, labels = folders
    samples = open_split({"toy_city": city, "selected": selected}, DataSplit.model_validate("selected/train"))
    total, label_map = torch.zeros(19, 19, dtype=torch.int64), label_map_of("toy_city", city)
    for index, sample in enumerate(samples):
        ids = read_label(city / "night_pool" / "hidden" / f"{sample.image.stem}_labelIds.png", label_map)
        hidden = torch.from_numpy(lookup_table(label_map)[ids])
        found = torch.from_numpy(np.array(decode(label_path(labels, index)), dtype=np.int64))
        total += confusion_matrix(hidden[None], found[None])
    return scores(total.numpy(), class_ids("cityscapes19"))


def main() -> None:
    """A line for each arm."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pseudo_label_accuracy", description=__doc__)
    parser.add_argument("--storage", type=Path, required=True, help="storage of the finished arms")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    for arm in LABELS:
        each = [accuracy(options.storage, arm, seed) for seed in range(options.seeds)]
        right, miou = (np.mean([getattr(one, name) for one in each]) for name in ("pixel_accuracy", "miou"))
        print(f"{arm}: {100 * right:.1f} % of the pixels are right, mIoU {100 * miou:.1f}, {len(each)} seed(s)")


if __name__ == "__main__":
    main()
