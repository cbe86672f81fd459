"""``nightshift data``: make, check and index data sets."""

import json as json_module
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli import options
from orchestrator.cli.bar import bar
from trainers.errors import UserError, nearest

app = typer.Typer(help="Make the built-in data set; check and index the folder of any data set.", no_args_is_help=True)

Root = Annotated[Path, typer.Option(help="Folder of the data set.")]


@app.command()
def make(
    dataset: Annotated[Literal["toy_city"], typer.Argument(help="The built-in data set.")],
    output: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    height: Annotated[int, typer.Option(help="Pixels.")] = 64,
    width: Annotated[int, typer.Option(help="Pixels.")] = 128,
    train: Annotated[int, typer.Option(min=1, help="Images per domain.")] = 240,
    val: Annotated[int, typer.Option(min=1, help="Images per domain.")] = 40,
    test: Annotated[int, typer.Option(min=1, help="Images per domain.")] = 40,
    city_seed: Annotated[int, typer.Option(min=0, help="Which city.")] = 0,
) -> None:
    """Render Toy City as one Cityscapes tree per domain, to look at or to use elsewhere.

    Experiments render it themselves, as a stage. Example: `nightshift data make toy_city --output toy_city`
    """
    from pydantic import ValidationError

    from orchestrator.overrides import one_line
    from trainers.data.render_city_config import Config
    from trainers.data.toy_city import write_tree

    images = {domain: {"train": train, "val": val, "test": test} for domain in ("day", "night")}
    fields = {"height": height, "width": width, "city_seed": city_seed, "images": images}
    try:
        config = Config.model_validate(fields)
    except ValidationError as error:
        raise UserError(one_line(error, "toy_city")) from error
    if output.exists():
        raise UserError(f"--output {output} exists already; name a new folder")
    aside = output.with_name(f".{output.name}.aside")
    if aside.exists():
        raise UserError(f"{aside} is left from an interrupted run; remove it first")
    counts = config.counts()
    frames = write_tree(aside, seed=city_seed, height=height, width=width, counts=counts)
    total = sum(sum(parts.values()) for parts in counts.values())
    for _ in bar(frames, total, "rendering"):
        pass
    aside.rename(output)
    typer.echo(f"{total} images in {output}")


@app.command()
def check(
    dataset: Annotated[str, typer.Argument(help="Name of the data set.")],
    root: Root,
    split: Annotated[str | None, typer.Option(help="One split; all that exist when not given.")] = None,
    json: options.Json = False,
) -> None:
    """Read every image and label, and list everything that is wrong; exit code 2 if anything is.

    Example: `nightshift data check camvid --root ../shared/data/camvid`
    """
    from trainers.data.datasets import check_split, open_listing

    problems: list[str] = []
    counts: dict[str, int] = {}
    for one in _splits(dataset, split):
        samples = open_listing(root, one, must_exist=split is not None)
        counts[one.split] = len(samples)
        found = check_split(samples, one)
        for problem in bar(found, len(samples), str(one)):
            problems += [problem] if problem else []
    if not any(counts.values()):
        raise UserError(f"{root} has no image of {dataset}; it needs {_dataset(dataset).layout}")
    if json:
        typer.echo(json_module.dumps({"dataset": dataset, "images": counts, "problems": problems}))
    else:
        for problem in problems:
            typer.echo(problem)
        typer.echo(f"{dataset}: {sum(counts.values())} images, {len(problems)} problems")
    if problems:
        raise typer.Exit(2)


@app.command()
def index(
    dataset: Annotated[str, typer.Argument(help="Name of the data set.")],
    root: Root,
    full: Annotated[bool, typer.Option("--full", help="Hash every byte, not the edges of each file.")] = False,
    json: options.Json = False,
) -> None:
    """Fingerprint, number of images and class frequencies of every split.

    Example: `nightshift data index camvid --root ../shared/data/camvid`
    """
    from trainers.data.datasets import open_listing
    from trainers.data.fingerprint import fingerprint
    from trainers.data.label_spaces import CLASS_NAMES

    lines = []
    for one in _splits(dataset, None):
        samples = open_listing(root, one, must_exist=False)
        if not samples:
            continue
        files = {path for sample in samples for path in (sample.image, sample.label) if path is not None}
        lines.append(
            {
                "split": one.split,
                "images": len(samples),
                "fingerprint": fingerprint(root, files, full=full),
                "class_frequency": _frequencies(one, samples),
            }
        )
    if not lines:
        raise UserError(f"{root} has no image of {dataset}; it needs {_dataset(dataset).layout}")
    if json:
        typer.echo(json_module.dumps({"dataset": dataset, "splits": lines}))
        return
    import pandas as pd

    from orchestrator.cli.tables import show_frame

    show_frame(pd.DataFrame([{**line, "fingerprint": str(line["fingerprint"])[:16]} for line in lines]).iloc[:, :3])
    frequencies = pd.DataFrame({str(line["split"]): line["class_frequency"] for line in lines}, index=CLASS_NAMES)
    show_frame(frequencies.rename_axis("class").reset_index(), title="share of labeled pixels")


def _frequencies(split, samples) -> dict[str, float] | None:  # type: ignore[no-untyped-def]
    """Class → share of the scored pixels; ``None`` without labels."""
    import numpy as np

    from trainers.data.datasets import DATASETS, read_label
    from trainers.data.label_spaces import CLASS_NAMES, lookup_table

    label_map = DATASETS[split.dataset].label_map
    table = lookup_table(label_map)
    counts: Counter[str] = Counter()
    for sample in bar(samples, len(samples), str(split)):
        if sample.label is not None:
            pixels = np.bincount(table[read_label(sample.label, label_map)].ravel(), minlength=256)
            counts.update(dict(zip(CLASS_NAMES, pixels[: len(CLASS_NAMES)].tolist(), strict=True)))
    total = sum(counts.values())
    return {name: counts[name] / total for name in CLASS_NAMES} if total else None


def _dataset(name: str):  # type: ignore[no-untyped-def]
    from trainers.data.datasets import DATASETS

    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}: {nearest(name, DATASETS)}")
    return DATASETS[name]


def _splits(dataset: str, split: str | None):  # type: ignore[no-untyped-def]
    from trainers.data.datasets import DataSplit

    names = _dataset(dataset).splits
    if split is not None and split not in names:
        raise UserError(f"{dataset} has no split {split!r}: {nearest(split, names)}")
    return [DataSplit(dataset=dataset, split=name) for name in (names if split is None else [split])]
