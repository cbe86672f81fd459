"""Evaluation of a segmenter: the confusion matrix of a split as an artifact of its own.

The input role ``segmenter`` is a training stage; the probabilities of further ones, ``segmenter_…``, are averaged with
its own. In float32 whatever the training used, so that a score does not
depend on the device.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainers.components.class_weights import class_weights
from trainers.config import Config as BaseConfig
from trainers.context import TrainContext
from trainers.data.datasets import DATASETS, open_split
from trainers.data.images import SplitImages
from trainers.data.instances import check_instances
from trainers.data.label_spaces import CLASS_NAMES, IGNORE_LABEL, NUM_CLASSES, class_ids
from trainers.data.loader import evaluation_batches
from trainers.data.own_labels import REMEDY, check_own_labels, common_size, own_labels
from trainers.data.pack_config import Config as PackConfig
from trainers.errors import UserError
from trainers.evaluation import confusion_matrix, miou_batchmean, scores, tally_split
from trainers.networks.segmentation import check_size
from trainers.pictures import error_picture, evenly_spaced, write_panel
from trainers.segmentation.evaluate_config import Config
from trainers.segmentation.instance_scores import InstanceTally, instance_miou, sizes_for
from trainers.segmentation.supervised_config import Config as SupervisedConfig
from trainers.segmentation.trained import Trained, load_predictor, read_description

NO_FREQUENCIES = (
    "the segmenter was trained without class weights, so a test cannot take any; leave class_weight_strength 0"
)


def check(config: Config, inputs: Mapping[str, Path]) -> None:
    """Refuse absent data, and sizes that the trained network cannot take."""
    if "segmenter" in inputs:
        trained = read_description(inputs["segmenter"])
        _check_size(config, trained)
        if config.class_weight_strength > 0:
            weights_of(trained, config.class_weight_strength)
    if config.split.dataset in inputs:
        samples = open_split(inputs, config.split)
        if config.at_label_size():
            check_own_labels(config.split, inputs[config.split.dataset])
        if config.instances:
            check_instances(samples, "set instances=false to do without iiou")


def check_sources(config: Config, sources: Mapping[str, BaseConfig]) -> None:
    """The same refusals before anything is made: ``sources`` are the inputs' configurations."""
    fields = dict(sources["segmenter"])
    if isinstance(segmenter := sources["segmenter"], SupervisedConfig):
        _check_size(config, Trained(segmenter.network, *segmenter.select_size()))
    if config.class_weight_strength > 0 and "class_weights" not in fields:
        raise UserError(NO_FREQUENCIES)
    if config.at_label_size() and isinstance(sources.get(config.split.dataset), PackConfig):
        raise UserError(f"{config.split} is packed by a stage, so it has no labels at their own size; {REMEDY}")


def _check_size(config: Config, trained: Trained) -> None:
    check_size(trained.network, height=config.height or trained.height, width=config.width or trained.width)


def weights_of(trained: Trained, strength: float) -> torch.Tensor:
    """The class weights of a test.

    Raises:
        UserError: the training did not weigh classes.
    """
    if trained.class_frequencies is None:
        raise UserError(NO_FREQUENCIES)
    return class_weights(trained.class_frequencies, strength)


class WeightedLogits(nn.Module):
    """A network whose logits are multiplied by the weight of their class.

    Source: W-zx-Y/DANNet, evaluate.py. A negative logit of a rare class is thereby made smaller still, not larger.
    """

    weights: torch.Tensor

    def __init__(self, network: nn.Module, weights: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("weights", weights[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Weighted logits."""
        return self.network(images) * self.weights


def run(
    config: Config, inputs: Mapping[str, Path], output: Path, seed: int | None, context: TrainContext
) -> dict[str, Any]:
    """Score the checkpoint, and leave pictures of a few fixed images.

    Returns:
        ``infomax``, ``images``, sizes, the ``step`` of the checkpoint and, where the split has labels, ``confusion``
        (row by row, truth in rows) with the scores of ``trainers.evaluation.scores``; ``iiou`` where it is asked for.
    """
    segmenter, trained, step = load_predictor(inputs, config.checkpoint)
    if config.class_weight_strength > 0:
        segmenter = WeightedLogits(segmenter, weights_of(trained, config.class_weight_strength))
    height, width = config.height or trained.height, config.width or trained.width
    split = SplitImages(inputs, config.split, height=height, width=width, cache_bytes=0)
    segmenter.to(context.device).eval()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # Whatever the training used.
    has_labels = config.split.split not in DATASETS[config.split.dataset].unlabeled
    result: dict[str, Any] = {
        "step": step,
        "images": len(split),
        "height": height,
        "width": width,
        "class_set": split.class_set,
    }
    result |= _scored(config, segmenter, split, context, has_labels=has_labels)
    if context.rank == 0:
        draw(segmenter, split, config.pictures, output=output, device=context.device)
    return result


def _scored(
    config: Config, segmenter: nn.Module, split: SplitImages, context: TrainContext, *, has_labels: bool
) -> dict[str, Any]:
    """``infomax`` and, of a split with labels, everything that is compared with them."""
    batches = evaluation_batches(split, batch_size=config.batch_size, workers=config.loader_workers, context=context)
    each: list[torch.Tensor] = []
    ranks = {"rank": context.rank, "world_size": context.world_size}
    objects = InstanceTally(split, **ranks)
    is_own_size = has_labels and config.at_label_size()

    def watch(labels: torch.Tensor, predictions: torch.Tensor) -> None:
        if config.batch_mean_size is not None:
            each.extend(confusion_matrix(labels[[i]], predictions[[i]]) for i in range(len(predictions)))
        if config.instances:
            objects.add(predictions)

    tally = tally_split(
        segmenter,
        batches,
        device=context.device,
        all_reduce=context.all_reduce,
        watch=watch,
        own_labels=own_labels(split, **ranks) if is_own_size else None,
    )
    result: dict[str, Any] = {"infomax": tally.infomax()}
    if not has_labels:
        return result
    label_size = common_size(split.samples) if is_own_size else (split.height, split.width)
    result["label_height"], result["label_width"] = label_size
    confusion = tally.confusion.cpu().numpy()
    values = vars(scores(confusion, class_ids(split.class_set))).copy()
    iou = dict(zip(CLASS_NAMES, values.pop("iou"), strict=True))
    if config.instances:
        sizes, sums = sizes_for(split.class_set), context.all_reduce(objects.sums.to(context.device))
        result |= {"iiou": instance_miou(sums.cpu().numpy(), confusion, sizes), "iiou_sizes": sizes}
    if config.batch_mean_size is not None:
        result["miou_batchmean"] = _batch_mean(config, each, len(split), context)
    return {**result, **values, "iou": iou, "confusion": confusion.flatten().tolist()}


@torch.inference_mode()
def draw(segmenter: nn.Module, split: SplitImages, count: int, *, output: Path, device: torch.device) -> None:
    """One panel for each of ``count`` fixed images: the same ones for every checkpoint, seed and number of workers."""
    has_labels = split.split.split not in DATASETS[split.split.dataset].unlabeled
    for index in evenly_spaced(count, len(split)):
        image, label = split[index]
        prediction = segmenter(image[None].to(device)).argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
        photo, truth = image.permute(1, 2, 0).contiguous().numpy(), label.numpy()
        tiles = {"input": photo, "truth": truth, "prediction": prediction}
        caption = ""
        if has_labels:
            tiles["error"] = error_picture(photo, truth, prediction)
            scored = truth != IGNORE_LABEL
            share = (prediction[scored] == truth[scored]).mean() if scored.any() else 0.0
            caption = f"{100 * share:.1f} % of the labeled pixels are right"
        else:
            del tiles["truth"]
        write_panel(output, f"{index:06d}", tiles, title=split.samples[index].image.stem, caption=caption)


def _batch_mean(config: Config, each: list[torch.Tensor], images: int, context: TrainContext) -> float:
    """``miou_batchmean`` over the batches that one process would see."""
    assert config.batch_mean_size is not None
    confusions = torch.zeros(images, NUM_CLASSES, NUM_CLASSES, dtype=torch.int64, device=context.device)
    if each:
        confusions[context.rank :: context.world_size] = torch.stack(each)
    return miou_batchmean(context.all_reduce(confusions).cpu().numpy(), config.batch_mean_size)
