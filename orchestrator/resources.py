"""What trials need of a cluster and what fits it, node by node: a sum over nodes would be too kind."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Mapping, Sequence

from trainers.errors import UserError

Node = Mapping[str, float]
"""``CPU`` and ``GPU`` of one machine."""

PROOF_SECONDS = 10.0
"""How long the resources of the planned trials may take to become free."""

ROUNDING = 1e-6


def num_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_gpus() -> int:
    """Count the NVIDIA GPUs that this process may use, without importing torch.

    The driver says how many there are; ``CUDA_VISIBLE_DEVICES`` can only take some of them away.
    """
    present, visible = num_gpus_of_driver(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not present:
        return present
    usable = []
    for device in (name.strip() for name in visible.split(",")):
        is_there = int(device) in range(present) if device.lstrip("-").isdigit() else bool(device)
        if not is_there:
            break  # As CUDA does: what stands behind the first device that does not exist is not seen.
        usable.append(device)
    return len(usable)


@functools.cache
def num_gpus_of_driver() -> int:
    """Count the GPUs of this machine by NVIDIA's management library; 0 where there is none, or no driver."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if library.nvmlInit_v2() != 0:
        return 0
    failed = library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    library.nvmlShutdown()
    return 0 if failed else count.value


def nodes_to_use() -> list[Node]:
    """The machines of the cluster that this process is connected to; without one, this machine."""
    if is_on_cluster():
        return cluster_nodes()
    return [{"CPU": float(num_cpus()), "GPU": float(num_gpus())}]


def is_on_cluster() -> bool:
    """Whether this process belongs to a running cluster; otherwise Ray is started on this machine when it is needed."""
    return os.environ.get("RAY_ADDRESS", "local") not in ("", "local")


def groups_that_fit(nodes: Sequence[Node], bundles: Sequence[Node]) -> int:
    """How many groups of ``bundles`` fit ``nodes`` at once, by first fit; a fraction of a GPU lies on one device."""
    free = [_Free(node) for node in nodes]
    count = 0
    while all(any(node.take(bundle) for node in free) for bundle in bundles):
        count += 1
    return count


def require_fit(nodes: Sequence[Node], bundles: Sequence[Node], *, where: str = "the cluster") -> None:
    """Refuse what can never fit, however long it waits.

    Raises:
        UserError: with what is missing.
    """
    if groups_that_fit(nodes, bundles) > 0:
        return
    each = ", ".join(f"{amount:g} {name}" for name, amount in bundles[0].items())
    have = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes) or "none"
    short = [
        f"{needed - total:g} {name} too few"
        for name, needed in _sum(bundles).items()
        if (total := _sum(nodes).get(name, 0)) < needed
    ]
    why = ", ".join(short) or "no way to place them on its nodes"
    raise UserError(
        f"a trial needs {len(bundles)} x ({each}), and {where} has nodes of ({have}): {why}; lower --workers, "
        "--cpus-per-worker or --gpus-per-worker"
    )


def are_free(bundles: Sequence[Node], groups: int, *, seconds: float = PROOF_SECONDS) -> bool:
    """Whether Ray can reserve ``groups`` times ``bundles`` now; nothing stays reserved."""
    from ray.util.placement_group import placement_group, remove_placement_group

    proof = placement_group([dict(bundle) for bundle in bundles] * groups, strategy="PACK")
    ready = bool(proof.wait(seconds))
    remove_placement_group(proof)
    return ready


def cluster_nodes() -> list[Node]:
    """The machines of the cluster that this process is connected to."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _sum(nodes: Sequence[Node]) -> dict[str, float]:
    names = {name for node in nodes for name in node}
    return {name: sum(node.get(name, 0) for node in nodes) for name in sorted(names)}


class _Free:
    """What is left of a machine."""

    def __init__(self, node: Node) -> None:
        self._cpus = node.get("CPU", 0)
        self._devices = [1.0] * int(node.get("GPU", 0))

    def take(self, bundle: Node) -> bool:
        """Take ``bundle`` if it fits."""
        cpus, gpus = bundle.get("CPU", 0), bundle.get("GPU", 0)
        if self._cpus + ROUNDING < cpus:
            return False
        for index, left in enumerate(self._devices) if gpus else ():
            if left + ROUNDING >= gpus:
                self._devices[index] -= gpus
                break
        else:
            if gpus:
                return False
        self._cpus -= cpus
        return True
