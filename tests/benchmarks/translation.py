"""UNIT: a training step and a translation against bare loops over the same networks, in one run.

A bare step is what one would write by hand: both updates, no curves, pictures, warnings or checkpoints. A bare
translation is the network alone on images that are on the device already; ours takes decoded images and gives bytes.
Usage: ``python -m tests.benchmarks.translation [--height 512 --width 1024 --crop 256 --generator-width 64]``, which are
the defaults on a GPU; on a CPU those of Toy City.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.provenance import hardware
from trainers.context import PlainContext
from trainers.data.datasets import DataSplit
from trainers.data.domains import DomainBatch
from trainers.translation.training import signed
from trainers.translation.translators import load_translator, write_translator
from trainers.translation.unit import UNITLearner
from trainers.translation.unit_config import Config

WARM_UP_STEPS = 3
DAY, NIGHT = "toy_city/day_train", "toy_city/night_train"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    height, crop, generator_width = (512, 256, 64) if device.type == "cuda" else (64, 64, 16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--height", type=int, default=height)
    parser.add_argument("--width", type=int, default=2 * height)
    parser.add_argument("--crop", type=int, default=crop)
    parser.add_argument("--generator-width", type=int, default=generator_width)
    options = parser.parse_args()
    torch.manual_seed(0)
    fields = {
        "source": DAY, "target": NIGHT, "height": options.height, "width": options.width,
        "generator": {"width": options.generator_width}, "discriminator": {"width": options.generator_width},
        "augmentation": {"crop_height": options.crop, "crop_width": options.crop}, "pictures": 0,
    }  # fmt: skip
    config = Config.model_validate(fields).resolved(device_type=device.type)
    with tempfile.TemporaryDirectory() as folder:
        learner = UNITLearner(config, context=PlainContext(Path(folder), device=device), seed=0)
        seconds = {**training(learner, options, device), **translating(learner, Path(folder), options, device)}
    print(f"UNIT of width {options.generator_width}, {config.precision}, {hardware(device.type)}")
    for what, size in (("training", options.crop), ("translating", options.height)):
        ours, bare = (1 / seconds[f"{what}, {who}"] for who in ("ours", "bare"))
        print(f"{what} at {size}: {ours:.2f} images/s, bare {bare:.2f}: {ours / bare:.2f} of it")
    print(json.dumps({"hardware": hardware(device.type), "seconds": seconds}))


def training(learner: UNITLearner, options: argparse.Namespace, device: torch.device) -> dict[str, float]:
    """Median seconds of a step of one image of each domain; both take turns."""
    shape = (1, 3, options.crop, options.crop)
    day, night = (torch.randint(0, 256, shape, dtype=torch.uint8, device=device) for _ in range(2))
    labels = torch.zeros(1, *shape[2:], dtype=torch.uint8, device=device)
    batch = DomainBatch(day, labels, night, labels)
    times: dict[str, list[float]] = {"training, ours": [], "training, bare": []}
    for step in range(1, options.steps + 1):
        alternatives: tuple[Callable[[], object], ...] = (
            lambda step=step: learner.train_step(batch, step),  # type: ignore[misc]
            lambda: bare_step(learner, signed(day), signed(night)),
        )
        for spent, run in zip(times.values(), alternatives, strict=True):
            spent.append(timed(run, device))
    return {name: statistics.median(spent[WARM_UP_STEPS:]) for name, spent in times.items()}


def bare_step(learner: UNITLearner, day: Tensor, night: Tensor) -> None:
    """The paper's two updates, by hand."""
    config, networks, judges = learner.config, learner.generators, learner.discriminators
    weights, encoders, decoders = config.weights, networks.encoders, networks.decoders
    with torch.autocast(day.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
        code_day, code_night = encoders["source"](day), encoders["target"](night)
        noisy = torch.cat([code_day + torch.randn_like(code_day), code_night + torch.randn_like(code_night)])
        own_day, to_day = decoders["source"](noisy).chunk(2)
        to_night, own_night = decoders["target"](noisy).chunk(2)
        back_day, back_night = encoders["target"](to_night), encoders["source"](to_day)
        cycle_day = decoders["source"](back_day + torch.randn_like(back_day))
        cycle_night = decoders["target"](back_night + torch.randn_like(back_night))
        pairs = (("source", day, to_day), ("target", night, to_night))
        judged = [
            (one - wanted).square().mean()
            for name, real, fake in pairs
            for shown, wanted in ((real, 1.0), (fake.detach(), 0.0))
            for one in judges[name](shown)
        ]
    learner.judge_optimizer.zero_grad(set_to_none=True)
    (weights.gan * torch.stack(judged).sum()).backward()
    learner.judge_optimizer.step()
    with torch.autocast(day.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
        fooled = [(one - 1).square().mean() for name, _, fake in pairs for one in judges[name](fake)]
    codes = sum(code.float().square().mean() for code in (code_day, code_night))
    backs = sum(code.float().square().mean() for code in (back_day, back_night))
    own = functional.l1_loss(own_day.float(), day) + functional.l1_loss(own_night.float(), night)
    cycle = functional.l1_loss(cycle_day.float(), day) + functional.l1_loss(cycle_night.float(), night)
    loss = weights.gan * torch.stack(fooled).sum() + (weights.kl + weights.cycle_kl) * codes
    loss = loss + weights.cycle_kl * backs + weights.reconstruction * own + weights.cycle * cycle
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    learner.optimizer.step()


def translating(
    learner: UNITLearner, folder: Path, options: argparse.Namespace, device: torch.device
) -> dict[str, float]:
    """Median seconds of one whole image."""
    day, night = (DataSplit.model_validate(name) for name in (DAY, NIGHT))
    torch.save({"weights": learner.weights(), "step": 1}, folder / "final.pt")
    write_translator(folder, "unit", generator=learner.config.generator, source=day, target=night)
    translator = load_translator(folder, "final", direction="forward", device=device)
    image = torch.randint(0, 256, (3, options.height, options.width), dtype=torch.uint8)
    shown, network = signed(image[None].to(device)), learner.generators.eval()
    times: dict[str, list[float]] = {"translating, ours": [], "translating, bare": []}
    with torch.inference_mode():
        for _ in range(options.steps):
            times["translating, ours"].append(timed(lambda: translator(image), device))
            times["translating, bare"].append(timed(lambda: network.translate(shown, to="target"), device))
    return {name: statistics.median(spent[WARM_UP_STEPS:]) for name, spent in times.items()}


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device is done."""
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
