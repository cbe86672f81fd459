"""Keep the images of a labeled split which a segmenter reads as their labels say, as the data set ``agreed``.

A generator that missed what its label map asks for makes a training pair that teaches the wrong thing; a segmenter of
real images (the input role ``segmenter``) sees it. In float32, so that what is kept does not depend on the device.

Source: ours, as a stage behind the label balancing document's step 2; Wang et al., pix2pixHD, section 4.1 judge
    generated images by a segmenter in this way, all together.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.context import TrainContext
from trainers.data.datasets import class_set_at, content_files, label_map_of, name_of, open_split
from trainers.data.fingerprint import fingerprint
from trainers.data.images import SplitImages
from trainers.data.label_spaces import class_ids
from trainers.data.loader import evaluation_batches
from trainers.data.references import Reference, write_references
from trainers.errors import UserError
from trainers.evaluation import confusion_matrix, scores
from trainers.pictures import write_panel
from trainers.segmentation.trained import load_predictor
from trainers.selection.agreement_config import Config


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data."""
    if config.split.dataset in inputs:
        open_split(inputs, config.split)


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Write ``references.json`` of what is kept.

    Returns:
        ``images``, how many are ``kept``, the ``threshold``, and ``quantiles`` of the agreement (of 0, 10, … 100 %).

    Raises:
        UserError: nothing is kept.
    """
    root = inputs[config.split.dataset]
    images = SplitImages(inputs, config.split, height=config.height, width=config.width, cache_bytes=0)
    agreement = _agreement(config, inputs, images, context)
    quantiles = np.quantile(agreement, np.linspace(0, 1, 11)).tolist()
    threshold = config.threshold
    if threshold is None:
        assert config.quantile is not None
        threshold = float(np.quantile(agreement, config.quantile))
    kept = np.flatnonzero(agreement >= threshold)
    if not len(kept):
        raise UserError(
            f"no image of {config.split} reaches a {config.measure} of {threshold:g}; the best has "
            f"{agreement.max():.3f}, the median {quantiles[5]:.3f}; lower threshold, or train the generator longer"
        )
    if context.rank == 0:
        names = tuple(name_of(images.samples[index], inputs, config.split) for index in kept.tolist())
        whole = fingerprint(root, content_files(root, config.split, images.samples))
        label_map = label_map_of(config.split.dataset, root)
        reference = {"train": Reference(str(config.split), names, None)}
        write_references(output, reference, label_map=label_map, fingerprints={"train": whole})
        _draw(config, images, agreement, threshold, output)
    return {"images": len(images), "kept": len(kept), "threshold": threshold, "quantiles": quantiles}


@torch.inference_mode()
def _agreement(config: Config, inputs: Mapping[str, Path], images: SplitImages, context: TrainContext) -> np.ndarray:
    """Of each image in [0, 1]; one without labeled pixels agrees with nothing."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    network, _, _ = load_predictor(inputs, config.checkpoint)
    network.to(context.device).eval()
    classes = class_ids(class_set_at(config.split.dataset, inputs[config.split.dataset]))
    agreement = torch.zeros(len(images), dtype=torch.float64)
    index = context.rank
    for batch in evaluation_batches(
        images, batch_size=config.batch_size, workers=config.loader_workers, context=context
    ):
        predictions = network(batch.images).float().argmax(dim=1)
        for label, prediction in zip(batch.labels, predictions, strict=True):
            found = scores(confusion_matrix(label[None], prediction[None]).cpu().numpy(), classes)
            agreement[index] = getattr(found, config.measure) or 0.0
            index += context.world_size
    summed: np.ndarray = context.all_reduce(agreement.to(context.device)).cpu().numpy()
    return summed


def _draw(config: Config, images: SplitImages, agreement: np.ndarray, threshold: float, output: Path) -> None:
    """The images at both ends."""
    order = np.argsort(agreement, kind="stable").tolist()
    for index in dict.fromkeys(order[: config.pictures] + order[len(order) - config.pictures :]):
        image, label = images[index]
        fate = "kept" if agreement[index] >= threshold else "dropped"
        tiles = {"input": image.permute(1, 2, 0).contiguous().numpy(), "truth": label.numpy()}
        caption = f"{config.measure} {agreement[index]:.3f}: {fate}"
        write_panel(output, f"{index:06d}", tiles, title=images.samples[index].image.stem, caption=caption)
