"""What `nightshift data check` finds in the splits of one data set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.cli.bar import bar
from orchestrator.preflight import num_cpus
from trainers.data.checks import SplitNotes, check_split, leftovers, list_problems
from trainers.data.datasets import DATASETS, DataSplit, open_listing
from trainers.data.samples import Sample
from trainers.errors import UserError


@dataclass
class Findings:
    """Of all splits together."""

    images: dict[str, int] = field(default_factory=dict)
    """Split → its images."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fewer: list[str] = field(default_factory=list)
    """Those of ``notes`` that say that a split has not the images that were released."""

    def complete(self) -> tuple[list[str], list[str]]:
        """Problems and notes where fewer images than released are a problem."""
        return self.problems + self.fewer, [note for note in self.notes if note not in self.fewer]


def check_splits(root: Path, splits: Sequence[DataSplit], *, must_exist: bool) -> Findings:
    """Read every file of ``splits``, and every list of the folder unless a split was asked for (``must_exist``).

    Raises:
        UserError: there is no such folder, or no such split and ``must_exist``.
    """
    findings = Findings()
    images: dict[Path, None] = {}
    for split in splits:
        try:
            samples = open_listing(root, split, must_exist=must_exist)
        except UserError as error:
            if must_exist or not root.is_dir():
                raise
            findings.problems.append(str(error))
            continue
        findings.images[split.part] = len(samples)
        images |= dict.fromkeys(sample.image for sample in samples)
        _check_split(root, split, samples, findings)
    if not must_exist:
        findings.problems += list_problems(root, splits[0].dataset, list(images))
    return findings


def _check_split(root: Path, split: DataSplit, samples: Sequence[Sample], findings: Findings) -> None:
    notes = SplitNotes(split)
    checked = check_split(root, samples, split, notes=notes, threads=num_cpus())
    if samples:
        findings.problems += [problem for problem in bar(checked, len(samples), str(split)) if problem is not None]
    findings.notes += notes.lines() + notes.ignored()
    if split.part != split.split:
        return
    findings.notes += leftovers(root, split, samples)
    released = DATASETS[split.dataset].images.get(split.split)
    if samples and released not in (None, len(samples)):
        findings.fewer.append(f"{split} has {len(samples)} images, as released it has {released}")
        findings.notes.append(findings.fewer[-1])
