"""``nightshift data``: make, check, index, pack, fog and translate data sets."""

import json as json_module
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli import options
from orchestrator.cli.bar import bar
from trainers.errors import UserError, nearest

if TYPE_CHECKING:
    from orchestrator.artifacts import Artifact
    from orchestrator.execute import Event
    from orchestrator.graph import Stage
    from trainers.data.datasets import DataSplit
    from trainers.data.samples import Dataset

app = typer.Typer(help="Make the built-in data set; check, index and pack the folder of any.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the data set.")]
Root = Annotated[Path, typer.Option(help="Folder of the data set.")]

DOMAINS = ("day", "night", "fog", "game")


@app.command()
def make(
    dataset: Annotated[Literal["toy_city"], typer.Argument(help="The built-in data set.")],
    output: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
    domains: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(DOMAINS),
    height: Annotated[int, typer.Option(help="Pixels.")] = 64,
    width: Annotated[int, typer.Option(help="Pixels.")] = 128,
    train: Annotated[int, typer.Option(min=1, help="Images per domain.")] = 240,
    val: Annotated[int, typer.Option(min=1, help="Images per domain.")] = 40,
    test: Annotated[int, typer.Option(min=1, help="Images per domain.")] = 40,
    pairs: Annotated[int, typer.Option(min=0, help="Night images with their day images.")] = 0,
    night_pool: Annotated[bool, typer.Option("--night-pool", help="Also the unlabeled pool of night drives.")] = False,
    city_seed: Annotated[int, typer.Option(min=0, help="Which city.")] = 0,
) -> None:
    """Render Toy City as one Cityscapes tree per domain, to look at or to use elsewhere.

    Experiments render it themselves, as a stage. Example: `nightshift data make toy_city --output toy_city`
    """
    from pydantic import ValidationError

    from orchestrator.overrides import one_line
    from trainers.data.render_city_config import Config
    from trainers.data.toy_city import plan_tree, write_tree

    names = domains.split(",")
    if unknown := [name for name in names if name not in DOMAINS]:
        raise UserError(f"--domains {domains}: unknown domain {unknown[0]!r}: {nearest(unknown[0], DOMAINS)}")
    images = {name: {"train": train, "val": val, "test": test} for name in names}
    fields = {"height": height, "width": width, "city_seed": city_seed, "images": images, "pairs": pairs}
    try:
        config = Config.model_validate({**fields, "night_pool": night_pool})
    except ValidationError as error:
        raise UserError(one_line(error, "toy_city")) from error
    if output.exists():
        raise UserError(f"--output {output} exists already; name a new folder")
    aside = output.with_name(f".{output.name}.aside")
    if aside.exists():
        raise UserError(f"{aside} is left from an interrupted run; remove it first")
    what: dict[str, Any] = {"counts": config.counts(), "pairs": config.pairs, "night_pool": config.pool_images()}
    total = len(plan_tree(seed=city_seed, **what))
    for _ in bar(write_tree(aside, seed=city_seed, height=height, width=width, **what), total, "rendering"):
        pass
    aside.rename(output)
    typer.echo(f"{total} images in {output}")


@app.command()
def check(
    dataset: Name,
    root: Root,
    split: Annotated[
        str | None, typer.Option(help="One split, or a part such as train:1572; all that exist when not given.")
    ] = None,
    complete: Annotated[bool, typer.Option("--complete", help="Fewer images than released are a problem too.")] = False,
    json: options.Json = False,
) -> None:
    """Read every image and label, and list everything that is wrong; exit code 2 if anything is.

    Notes follow: what is left out (hidden files, labels without an image, other kinds of files) and what is surely not
    meant. Example: `nightshift data check camvid --root ../shared/data/camvid`
    """
    from orchestrator.cli.data_check import check_splits

    _refuse_packed(dataset, root)
    findings = check_splits(root, _splits(dataset, split), must_exist=split is not None)
    if not any(findings.images.values()) and not findings.problems:
        raise UserError(
            f"{root} has no image of {dataset}; it needs {_dataset(dataset).layout}{_what_else(findings.notes)}"
        )
    problems, notes = (findings.problems, findings.notes) if not complete else findings.complete()
    if json:
        report = {"dataset": dataset, "images": findings.images, "problems": problems, "notes": notes}
        typer.echo(json_module.dumps(report))
    else:
        for line in (*problems, *(f"note: {note}" for note in notes)):
            typer.echo(line)
        typer.echo(f"{dataset}: {sum(findings.images.values())} images, {len(problems)} problems")
    if problems:
        raise typer.Exit(2)


def _what_else(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


@app.command()
def index(
    dataset: Name,
    root: Root,
    split: Annotated[
        list[str] | None, typer.Option(help="A split, or a part such as train:1572; all that exist when not given.")
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a row per image to this file.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Hash every byte, not the edges of each file.")] = False,
    json: options.Json = False,
) -> None:
    """Fingerprint, number of images, brightness and class frequencies of every split; per image as Parquet.

    Example: `nightshift data index camvid --root ../shared/data/camvid`
    """
    from orchestrator.data_index import index_split, write_index
    from trainers.data.datasets import open_listing

    _refuse_packed(dataset, root)
    wanted: Sequence[str | None] = split or [None]
    splits = [each for name in wanted for each in _splits(dataset, name)]
    samples = {each: open_listing(root, each, must_exist=split is not None) for each in splits}
    indexes = [index_split(root, each, files, full=full, bar=bar) for each, files in samples.items() if files]
    for line in (line for index in indexes for line in (*index.problems, *index.notes)):
        typer.echo(line, err=True)
    lines = [index.summary for index in indexes if index.summary is not None]
    if not lines:
        raise UserError(f"{root} has no image of {dataset} that can be read; it needs {_dataset(dataset).layout}")
    if parquet is not None:
        write_index(parquet, [row for index in indexes for row in index.rows])
    if json:
        typer.echo(json_module.dumps({"dataset": dataset, "splits": lines}))
    else:
        _show_index(lines)
    if unread := sum(len(index.problems) for index in indexes):
        typer.echo(f"{unread} image(s) cannot be read and are left out; `nightshift data check` says why", err=True)
        raise typer.Exit(1)


def _show_index(lines: Sequence[dict[str, Any]]) -> None:
    import pandas as pd

    from orchestrator.cli.tables import show_frame
    from trainers.data.label_spaces import CLASS_NAMES

    show_frame(pd.DataFrame([{**line, "fingerprint": str(line["fingerprint"])[:16]} for line in lines]).iloc[:, :4])
    frequencies = pd.DataFrame({str(line["split"]): line["class_frequency"] for line in lines}, index=CLASS_NAMES)
    show_frame(frequencies.rename_axis("class").reset_index(), title="share of labeled pixels")


@app.command()
def pack(
    dataset: Name,
    root: Root,
    split: Annotated[list[str], typer.Option(help="A split, or a part such as train:1572. Repeatable.")],
    height: Annotated[int, typer.Option(min=1, help="Pixels.")],
    width: Annotated[int, typer.Option(min=1, help="Pixels.")],
    storage: options.Storage = None,
) -> None:
    """Decode and resize splits once into shards that training maps into memory; prints their folder.

    Name that folder as the data set's: `--set data.NAME.root=FOLDER`. The same command again costs nothing.
    Example: `nightshift data pack camvid --root ../shared/data/camvid --split day_train --height 192 --width 256`
    """
    from orchestrator.graph import Stage
    from trainers.data.pack_config import Config

    _refuse_packed(dataset, root)
    splits = tuple(found for name in split for found in _splits(dataset, name))
    stage = Stage("pack", "pack", _validated(Config, {"splits": splits, "height": height, "width": width}, "pack"))
    artifact, hit = _make(stage, {dataset: root}, storage, "packing")
    typer.echo(str(artifact.folder) + (" (existed)" if hit else ""))


@app.command()
def fog(
    root: Annotated[Path, typer.Option(help="Folder of Cityscapes with disparity/ and camera/.")],
    split: Annotated[str, typer.Option(help="A split, or a part such as train:-200.")] = "val",
    storage: options.Storage = None,
) -> None:
    """Put fog into Cityscapes from its depth, in the layout of Foggy Cityscapes; prints the folder.

    Example: `nightshift data fog --root ../shared/data/cityscapes_sample --split train:aachen.txt`
    """
    from orchestrator.graph import Stage
    from trainers.data.fog_config import Config

    (one,) = _splits("cityscapes", split)
    stage = Stage("fog", "fog", _validated(Config, {"split": one}, "fog"))
    artifact, hit = _make(stage, {"cityscapes": root}, storage, "fog")
    typer.echo(str(artifact.folder) + (" (existed)" if hit else ""))


@app.command()
def translate(
    translator: Annotated[str, typer.Argument(help="artifact:KEY of a trained `dfs`, `unit` or `pix2pixhd` stage.")],
    dataset: Annotated[str, typer.Option(help="Name of the data set; `images` is any folder of images.")],
    root: Root,
    split: Annotated[str, typer.Option(help="A split, or a part such as val:20.")] = "all",
    direction: Annotated[Literal["forward", "backward"], typer.Option(help="As it was trained, or back.")] = "forward",
    weights: Annotated[Literal["best", "final"], typer.Option(help="Which weights.")] = "best",
    height: Annotated[int | None, typer.Option(min=1, help="Pixels to resize to before. [default: its own]")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="The same.")] = None,
    reference: Annotated[str | None, typer.Option(help="DATASET/SPLIT to compare with, before and after.")] = None,
    reference_root: Annotated[Path | None, typer.Option(help="Its folder.")] = None,
    storage: options.Storage = None,
) -> None:
    """Put every image of a split through a trained translator; prints the folder of PNGs, in the size of the images.

    Of `pix2pixhd`, which makes images of label maps, it is every label of the split. With a reference, such as the
    images without haze, PSNR and SSIM to it are printed too, of the images as they were and translated.

    Example: `nightshift data translate artifact:5750 --dataset foggy_cityscapes --root foggy --split val_beta_0.02`
    """
    from orchestrator.graph import Stage
    from orchestrator.storage import storage_folder
    from orchestrator.weights import find_artifact
    from trainers.translation.translate_config import Config
    from trainers.translation.translators import FROM_LABEL_MAPS, read_translator

    _refuse_packed(dataset, root)
    (one,) = _splits(dataset, split)
    folder = find_artifact(translator, storage_folder(storage)).verified().folder
    part = "test" if read_translator(folder)["method"] in FROM_LABEL_MAPS else "unlabeled"
    size = {"inference_height": height, "inference_width": width}
    fields = {part: one, "direction": direction, "checkpoint": weights, **size}
    stage = Stage("translate", "translate", _validated(Config, fields, "translate"))
    artifact, hit = _make(stage, {dataset: root}, storage, "translating", inputs={"translator": folder})
    typer.echo(str(artifact.folder / "images" / part) + (" (existed)" if hit else ""))
    if reference is not None:
        if reference_root is None:
            raise UserError("--reference needs --reference-root, the folder of that data set")
        roots = {dataset: root, reference.partition("/")[0]: reference_root}
        if roots[dataset] != root:
            raise UserError(f"{dataset} cannot lie in both {root} and {reference_root}")
        _show_quality("before", str(one), reference, roots, storage)
        _show_quality("after", f"translated/{part}", reference, {**roots, "translated": artifact.folder}, storage)


def _show_quality(when: str, split: str, reference: str, roots: Mapping[str, Path], storage: Path | None) -> None:
    """One line of how near a split comes to another."""
    from orchestrator.graph import Stage
    from trainers.measures.image_quality_config import Config

    config = _validated(Config, {"split": split, "reference": reference}, "reference")
    artifact, _ = _make(Stage("quality", "image_quality", config), roots, storage, "comparing")
    psnr, ssim, images = (artifact.result[key] for key in ("psnr", "ssim", "images"))
    told = "equal to the reference" if psnr is None else f"{psnr:.2f} dB"
    typer.echo(f"{when}: PSNR {told}, SSIM {ssim:.3f}, {images} images")


def _make(
    stage: "Stage",
    roots: Mapping[str, Path],
    storage: Path | None,
    what: str,
    inputs: Mapping[str, Path] | None = None,
) -> "tuple[Artifact, bool]":
    """Make a stage of one data set or two, with a line where it waits for another process."""
    from orchestrator.single_stage import make_stage
    from orchestrator.storage import storage_folder

    def observe(event: "Event") -> None:
        if event.kind in ("waiting", "damaged"):
            typer.echo(f"{what}: {event.text}", err=True)

    where = storage_folder(storage)
    found = {dataset: root.resolve() for dataset, root in roots.items()}
    return make_stage(stage, storage=where, roots=found, observe=observe, inputs=inputs, bar=bar)


def _validated(config: Any, fields: dict[str, Any], name: str) -> Any:
    from pydantic import ValidationError

    from orchestrator.overrides import one_line

    try:
        return config.model_validate(fields)
    except ValidationError as error:
        raise UserError(one_line(error, name)) from error


def _refuse_packed(dataset: str, root: Path) -> None:
    from trainers.data.packed import is_packed

    if is_packed(root):
        raise UserError(f"{root} is a packed data set; name the original folder of {dataset}")


def _dataset(name: str) -> "Dataset":
    from trainers.data.datasets import DATASETS

    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}: {nearest(name, DATASETS)}")
    return DATASETS[name]


def _splits(dataset: str, split: str | None) -> "list[DataSplit]":
    """The split, or all of the data set's."""
    from pydantic import ValidationError

    from orchestrator.overrides import one_line
    from trainers.data.datasets import DataSplit

    names = _dataset(dataset).splits
    try:
        return [DataSplit.model_validate(f"{dataset}/{name}") for name in (names if split is None else [split])]
    except ValidationError as error:
        raise UserError(one_line(error, "--split").removeprefix("--split: ")) from error
