"""Counts against the report's tables, and the table of the README against the counts."""

import os
import re
import time
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from trainers.components.networks import OWN
from trainers.networks import profile
from trainers.networks.profile import Cost, ElementCounter, count, measure, parse_network

README = Path(__file__).parents[3] / "trainers" / "README.md"
REPORT = {"bisenet": ("12.58 M", "25.78 G", "17.14"), "deeplabv2": ("43.90 M", "0.375 T", "246.17")}
"""Tables 1 and 2 of the GTA5 → Cityscapes report: parameters, "FLOPs", latency in ms on a P100."""


@cache
def published(name: str) -> Cost:
    return count(parse_network(name), height=512, width=1024)


def test_bisenet_costs_what_the_report_counts():
    cost = published("bisenet")
    assert (cost.parameters, cost.parameters_with_classifier) == (12_068_672, 12_581_672)
    assert round(cost.fvcore_count / 1e9, 2) == 25.78
    assert cost.flops == 2 * cost.macs


def test_deeplabv2_costs_what_the_report_counts():
    cost = published("deeplabv2")
    assert cost.network == "deeplabv2:resnet101"
    assert cost.parameters == 43_901_068
    assert round(cost.fvcore_count / 1e9, 2) == 374.66
    assert f"{cost.fvcore_count / 1e12:.3f}" == "0.375"


def test_products_are_those_of_the_convolutions():
    """Independent of torch's counter: output cells × weights of each convolution, seen by hooks."""
    config, macs = parse_network("bisenet"), 0
    segmenter = profile.build_segmenter(config, pretrained=False).eval()

    def add(module: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += output[0, 0].numel() * module.weight.numel()

    for module in segmenter.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    segmenter(torch.zeros(1, 3, 45, 71))
    assert count(config, height=45, width=71).macs == macs


def test_elements_count_as_fvcore_counts_them():
    features = torch.zeros(1, 8, 4, 6)
    for module, expected in (
        (nn.BatchNorm2d(8).eval(), 2 * 192),
        (nn.GroupNorm(2, 8), 5 * 192),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 4 * 4 * 192),
        (nn.Upsample(scale_factor=2), 4 * 192),
        (nn.AdaptiveAvgPool2d(1), 192),
        (nn.ReLU(), 0),
    ):
        with ElementCounter() as elements:
            module(features)
        assert elements.count == expected, module


def table() -> str:
    lines = [
        '| network | parameters | MACs | FLOPs | fvcore\'s count | report: parameters | "FLOPs" | latency, P100 |',
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in OWN:
        cost = published(name)
        counted = f"{cost.parameters:,}".replace(",", " ")
        if name == "bisenet":
            counted += f" ({cost.parameters_with_classifier:,} with the unused classifier)".replace(",", " ")
        numbers = (f"{value / 1e9:.2f} G" for value in (cost.macs, cost.flops, cost.fvcore_count))
        report = REPORT.get(name, ("–", "–", "–"))
        latency = report[2] + (" ms" if name in REPORT else "")
        lines.append(
            f"| `{cost.network}` | {counted} | {' | '.join(numbers)} | {report[0]} | {report[1]} | {latency} |"
        )
    return "\n".join(lines)


def test_the_table_of_the_readme_is_what_the_networks_cost():
    """``NIGHTSHIFT_RECORD=1`` writes it."""
    text = README.read_text()
    region = re.compile(r"(<!-- networks -->\n).*?(<!-- end of networks -->)", flags=re.DOTALL)
    rendered = region.sub(lambda found: found[1] + table() + "\n" + found[2], text)
    if os.environ.get("NIGHTSHIFT_RECORD"):
        README.write_text(rendered)
        pytest.skip("wrote the table")  # What has just been written proves nothing: not a pass.
    assert table() in rendered
    assert rendered == text, f"run NIGHTSHIFT_RECORD=1 pytest {Path(__file__).name}"


def test_a_network_is_timed_until_the_seconds_or_the_iterations_are_over():
    class Sleeping(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            time.sleep(0.01)
            return images

    images = torch.zeros(1)
    by_time = profile._time(Sleeping(), images, seconds=0.05, iterations=1000)
    assert 1 <= len(by_time) <= 5
    assert min(by_time) >= 0.01
    assert len(profile._time(Sleeping(), images, seconds=60.0, iterations=3)) == 3
    assert len(profile._time(Sleeping(), images, seconds=0.0, iterations=3)) == 1


def test_a_measurement_says_how_often_and_what_it_took():
    found = measure(parse_network("bisenet"), height=32, width=64, device=torch.device("cpu"), seconds=0.2)
    assert 1 <= found["iterations"] <= profile.MAX_ITERATIONS
    assert found["fps"] == pytest.approx(1000 / found["latency_ms"])
    assert found["peak_memory_bytes"] is None or found["peak_memory_bytes"] > 12_068_672 * 4


@pytest.mark.parametrize(
    ("text", "network"), [("bisenet", "bisenet resnet18"), ("deeplabv2", "deeplabv2 resnet101"),
                          ("deeplabv2:resnet18", "deeplabv2 resnet18"), ("FPN:tu-resnet18", "FPN tu-resnet18")],
)  # fmt: skip
def test_a_network_is_named_with_or_without_its_encoder(text: str, network: str):
    config = parse_network(text)
    assert f"{config.architecture} {config.encoder}" == network
