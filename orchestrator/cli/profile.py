"""``nightshift profile``: what networks cost, side by side."""

import json as json_module
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import options
from trainers.errors import UserError

if TYPE_CHECKING:
    from trainers.components.configs import NetworkConfig
    from trainers.networks.profile import Cost


def profile(
    networks: Annotated[
        list[str],
        typer.Argument(metavar="NETWORK…", help="NETWORK or NETWORK:ENCODER, such as bisenet or FPN:resnet101."),
    ],
    size: Annotated[tuple[int, int], typer.Option(metavar="H W", help="Pixels.")] = (512, 1024),
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. [default: cuda where there is one]")] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="Time each network so long, or 1000 iterations; 0: only count.")
    ] = 30.0,
    json: options.Json = False,
) -> None:
    """Parameters, multiply-accumulates, latency and memory of networks for one image, in one table.

    Without an encoder a network takes the one behind its published numbers.

    Example: `nightshift profile bisenet deeplabv2 --seconds 0`
    """
    from trainers.networks.profile import count, measure

    height, width = size
    configs = [_parse(name) for name in networks]
    costs = [count(config, height=height, width=width) for config in configs]
    on = _device(device) if seconds else None
    for number, config in enumerate(configs):
        if on is not None:
            timing = measure(config, height=height, width=width, device=on, seconds=seconds)
            costs[number] = replace(costs[number], **timing)
    where = None if on is None else _describe(on)
    if json:
        lines = [asdict(cost) for cost in costs]
        typer.echo(json_module.dumps({"height": height, "width": width, "device": where, "networks": lines}))
    else:
        _print(costs, height, width, where)


def _parse(text: str) -> "NetworkConfig":
    from pydantic import ValidationError

    from orchestrator.overrides import one_line
    from trainers.networks.profile import parse_network

    try:
        return parse_network(text)
    except ValidationError as error:
        raise UserError(one_line(error, "network")) from error


def _device(name: str | None) -> Any:
    """The torch device, tried out."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("no such device")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts.
        raise UserError(f"--device {name} cannot be used here; use cpu, or cuda where there is a GPU") from error
    return device


def _describe(device: Any) -> str:
    import torch

    from orchestrator.provenance import hardware

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{hardware('cpu')}, {torch.get_num_threads()} threads"


def _print(costs: "list[Cost]", height: int, width: int, where: str | None) -> None:
    import pandas as pd

    from orchestrator.cli.tables import show_frame

    frame = pd.DataFrame([_line(cost) for cost in costs]).convert_dtypes()  # Integers stay integers beside absent ones.
    timed = "not timed" if where is None else f"float32 on {where}"
    show_frame(frame.dropna(axis="columns", how="all"), title=f"one image of {height}×{width}, {timed}")
    typer.echo(
        "MACs: multiply-accumulates of convolutions and matrix products; FLOPs = 2 MACs. fvcore: MACs and the element "
        "operations that fvcore adds,\nwhich papers often call FLOPs."
    )


def _line(cost: "Cost") -> dict[str, Any]:
    def scaled(value: float | None, unit: float, digits: int) -> str | None:
        return None if value is None else f"{value / unit:.{digits}f}"

    return {
        "network": cost.network,
        "parameters": cost.parameters,
        "with unused classifier": cost.parameters_with_classifier,
        "MACs G": scaled(cost.macs, 1e9, 2),
        "FLOPs G": scaled(cost.flops, 1e9, 2),
        "fvcore G": scaled(cost.fvcore_count, 1e9, 2),
        "latency ms": scaled(cost.latency_ms, 1, 2),
        "± ms": scaled(cost.latency_sd_ms, 1, 2),
        "FPS": scaled(cost.fps, 1, 2),
        "iterations": cost.iterations,
        "peak memory MiB": scaled(cost.peak_memory_bytes, 2**20, 0),
    }
