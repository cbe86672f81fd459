"""``nightshift predict``: label-id and color PNGs for a folder of images."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from orchestrator.cli import options
from trainers.errors import UserError


def predict(
    checkpoint: Annotated[
        str, typer.Argument(help="artifact:KEY (or the beginning of a key), an artifact's folder, or its .pt file.")
    ],
    data: Annotated[Path, typer.Option(help="Folder of images; folders in it are searched too.")],
    output: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    format: Annotated[
        Literal["folder", "cityscapes", "dark_zurich", "acdc"],
        typer.Option(help="Plain folders, or what a benchmark's server wants, zipped."),
    ] = "folder",
    weights: Annotated[Literal["best", "final"], typer.Option(help="Which weights of an artifact.")] = "best",
    height: Annotated[int | None, typer.Option(help="Network input in pixels. [default: the training's]")] = None,
    width: Annotated[int | None, typer.Option(help="Network input in pixels. [default: the training's]")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
    storage: options.Storage = None,
) -> None:
    """Predict every image below a folder, in its own size.

    Files that are no images are skipped with a line. An image that cannot be decoded is named, the others are
    predicted, nothing is packed, and the exit code is 1.

    Example: `nightshift predict artifact:5750 --data photos --output predicted`
    """
    from orchestrator.cli.bar import bar
    from orchestrator.predictions import FORMATS, describe, list_images, names_of, pack, require_new
    from orchestrator.storage import storage_folder
    from orchestrator.weights import find_weights

    path = find_weights(checkpoint, storage_folder(storage), weights)
    images, others, hidden = list_images(data)
    names = names_of(images, data, format)
    wanted = FORMATS[format]
    aside = require_new(output, data)
    if others:
        typer.echo(f"skipped, no images: {describe(others)}", err=True)
    if hidden:
        typer.echo(f"skipped, hidden: {describe(hidden)}", err=True)
    if wanted.images is not None and len(images) != wanted.images:
        typer.echo(f"warning: the test split of {format} has {wanted.images} images, --data {len(images)}", err=True)
    broken: list[str] = []
    results = zip(names, _predictions(path, images, height, width, batch_size), strict=True)
    for name, result in bar(results, len(images), "predicting"):
        if hasattr(result, "reason"):
            broken.append(result.reason)
            typer.echo(result.reason, err=True)
        else:
            wanted.write(result, name, aside)
    if len(broken) == len(images):
        raise UserError(f"no image of {data} can be decoded; the first: {broken[0]}")
    archive = None
    if wanted.is_packed and not broken:
        archive = aside / f"{format}.zip"
        count = pack(aside, archive)
    output.parent.mkdir(parents=True, exist_ok=True)
    aside.rename(output)
    typer.echo(f"{len(images) - len(broken)} predictions in {output}")
    if broken:
        left = ", and nothing was packed" if wanted.is_packed else ""
        typer.echo(f"{len(broken)} of {len(images)} images could not be decoded{left}", err=True)
        raise typer.Exit(1)
    if archive is not None:
        typer.echo(f"{output / archive.name}: {count} files to submit")


def _predictions(path: Path, images: list[Path], height: int | None, width: int | None, batch_size: int) -> Any:
    """The results of all images, in order."""
    import torch

    from orchestrator.resources import num_gpus
    from trainers.networks.segmentation import check_size
    from trainers.segmentation.predict import predict as predict_images
    from trainers.segmentation.trained import load_segmenter

    device = torch.device("cuda" if num_gpus() and torch.cuda.is_available() else "cpu")
    segmenter, trained, step = load_segmenter(path.parent, path.stem)
    size = {"height": height or trained.height, "width": width or trained.width}
    check_size(trained.network, **size)
    sys.stderr.write(
        f"{trained.network.architecture}-{trained.network.encoder} of step {step} at "
        f"{size['height']}×{size['width']} on {device.type}\n"
    )
    segmenter.to(device).eval()
    return predict_images(segmenter, images, **size, batch_size=batch_size, device=device)
