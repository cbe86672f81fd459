"""``nightshift doctor`` and ``nightshift gc``: keep a storage whole, and small."""

import json as json_module
from typing import Annotated

import typer

from orchestrator.cli import options


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Do what each line says; without it nothing changes.")
    ] = False,
    storage: options.Storage = None,
    json: options.Json = False,
) -> None:
    """Check artifacts, ledgers, leaderboard and leases of a storage; exit code 2 while something is wrong.

    Example: `nightshift doctor --repair`
    """
    from orchestrator.doctor import examine
    from orchestrator.storage import existing_storage

    findings = list(examine(existing_storage(storage)))
    left = 0
    for finding in findings:
        mended = repair and finding.repair is not None
        if mended and finding.repair is not None:
            try:
                finding.repair()
            except OSError as error:
                mended = False
                typer.echo(f"{finding.path} could not be mended: {error}", err=True)
        left += not mended
        if not json:
            remedy = finding.remedy if mended or finding.repair is None else f"would be {finding.remedy}"
            typer.echo(f"{finding.path}: {finding.problem} — {remedy}")
    if json:
        lines = [{"path": str(one.path), "problem": one.problem, "remedy": one.remedy} for one in findings]
        typer.echo(json_module.dumps(lines))
    else:
        typer.echo(f"{len(findings)} problems, {len(findings) - left} mended")
    if left:
        raise typer.Exit(2)


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it only list.")] = False,
    storage: options.Storage = None,
) -> None:
    """List, or delete, artifacts that no row of the leaderboard refers to, abandoned stages and quarantined files.

    Example: `nightshift gc --delete`
    """
    from orchestrator.garbage import garbage, remove
    from orchestrator.storage import existing_storage

    found = garbage(existing_storage(storage))
    for one in found:
        typer.echo(f"{one.size_bytes / 1e6:9.1f} MB  {one.path}  ({one.why})")
    total = sum(one.size_bytes for one in found)
    if delete:
        typer.echo(f"{remove(found) / 1e6:.1f} MB freed")
    else:
        typer.echo(f"{total / 1e6:.1f} MB in {len(found)} places; --delete frees them")
