"""Where a row comes from: commit, versions, hardware, command."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from orchestrator.ledger import Ledger

PACKAGES = (
    "nightshift", "torch", "torchvision", "ray", "optuna", "segmentation-models-pytorch", "numpy", "pandas", "pyarrow",
)  # fmt: skip


OUR_PACKAGES = ("orchestrator", "search_spaces", "trainers", "results")

GIT_VARIABLE = "NIGHTSHIFT_GIT"
"""``commit`` or ``commit+difference``, from whoever sent the code here without its repository."""


@lru_cache
def git_state() -> tuple[str | None, str | None]:
    """(commit, hash of what differs from it or ``None`` when clean) of the checkout that this code runs from.

    (``None``, ``None``) for an installed copy.
    """
    if told := os.environ.get(GIT_VARIABLE):
        told_commit, _, difference = told.partition("+")
        return told_commit, difference or None
    root = Path(__file__).parents[1]
    if _git(root, "ls-files", "--error-unmatch", "orchestrator/provenance.py") is None:
        return None, None  # Installed, perhaps inside another project's repository: its commit says nothing of us.
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    changes = _git(root, "diff", "HEAD") or ""
    new_files = (_git(root, "ls-files", "--others", "--exclude-standard", "--", *OUR_PACKAGES) or "").splitlines()
    changes += "".join(f"{name}\0{(root / name).read_text(errors='replace')}" for name in sorted(new_files))
    return commit, hashlib.sha256(changes.encode()).hexdigest()[:12] if changes else None


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Package → version, and Python's."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # Our own code runs from a working directory.
        return "not installed"


@lru_cache
def code_hash() -> str:
    """Hash of our own source files, each package wherever this process would import it from."""
    digest = hashlib.sha256()
    for package in OUR_PACKAGES:
        spec = find_spec(package)
        folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else Path(package)
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def software_changes(ledger: Ledger) -> str:
    """What differs from what last ran a sweep, in one line, and write down what runs it now; nothing at the first."""
    commit, changes = git_state()
    now = versions() | ({"code": f"{commit[:10]}{f' with changes {changes}' if changes else ''}"} if commit else {})
    known = ledger.read("software")
    before = list(known.values())[-1] if known else now
    if not known or before != now:
        ledger.write("software", f"{len(known):04d}", now)
    return ", ".join(
        f"{name} {before.get(name, 'absent')} → {now.get(name, 'absent')}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    )


def command() -> str:
    """The command line, without the path of the program."""
    return shlex.join(["nightshift", *sys.argv[1:]])


def hardware(device_type: str) -> str:
    """Name of the GPU or the CPU, with the number of cores."""
    if device_type == "cuda":
        import torch

        return torch.cuda.get_device_name()
    import psutil

    return f"{_cpu_name()}, {psutil.cpu_count(logical=True)} cores"


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
