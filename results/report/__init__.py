"""The report: one HTML file without network and without script, of one or several sweeps of a leaderboard.

``render`` takes rows and curves as ``results.leaderboard`` gives them, and material that whoever can open artifacts
and ledgers has collected. Every text from a row is escaped; the page's own security policy forbids scripts, and
everything that is not inside the file.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.report.material import Importance, Material, Picture

if TYPE_CHECKING:
    import jinja2
    import pandas as pd

PICTURE_BYTES = 6_000_000
"""Of all pictures of a report together, which keeps the file below 10 MB."""

MAX_CHAPTERS = 6
"""Sweeps of one report."""

__all__ = ["Importance", "Material", "Picture", "render", "write"]


def render(
    rows: "pd.DataFrame",
    curves: "pd.DataFrame",
    materials: Mapping[str, Material],
    *,
    colors: Sequence[Sequence[int]] = (),
) -> str:
    """The HTML of a report: a chapter for each sweep of ``rows``, the newest first.

    Args:
        rows: scores, of ``leaderboard.load``.
        curves: ``sweep, trial, stage, step, metric, value``.
        materials: sweep → what its artifacts and its ledger add; a sweep may be absent.
        colors: RGB in 0…255 of the 19 classes, for the legend of label pictures.
    """
    newest = rows.groupby("sweep")["created_utc"].max().sort_values(ascending=False)
    max_bytes = PICTURE_BYTES // max(1, len(newest))
    chapters = []
    for name in newest.index:
        material = materials.get(str(name), Material())
        chapters.append(chapter(rows[rows["sweep"] == name], curves[curves["sweep"] == name], material, max_bytes))
    return _template().render(
        chapters=chapters,
        title=" · ".join(one["name"] for one in chapters[:3]) + (" …" if len(chapters) > 3 else ""),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        palette=_sections().palette(colors) if colors else [],
    )


def chapter(rows: "pd.DataFrame", curves: "pd.DataFrame", material: Material, max_bytes: int) -> dict[str, Any]:
    """Everything that the template shows of one sweep."""
    from results.report import changes, ranking, search

    sections = _sections()
    rows, apart = one_scored(rows, material.objective)
    ranked = ranking.rank(rows, material.objective)
    return {
        "apart": apart,
        "name": rows["sweep"].iloc[0],
        "experiment": ", ".join(dict.fromkeys(rows["experiment"].dropna())),
        "preset": ", ".join(dict.fromkeys(rows["preset"].dropna())),
        "arms": list(dict.fromkeys(rows["arm"].dropna())),
        "ranking": ranked,
        "tiles": sections.tiles(rows, ranked, material),
        "summary": sections.summary(ranked),
        "curves": sections.curves(curves, rows, ranked),
        "classes": sections.classes(rows, ranked),
        "changes": changes.changes(rows, ranked, material.baseline),
        "plots": search.plots(rows, ranked, material),
        "parallel": search.parallel(ranked),
        "stages": sections.stages(rows, material),
        "pictures": sections.pictures(material, max_bytes=max_bytes),
        "importance_note": "" if material.importances else material.importance_note,
        "endings": sections.endings(rows),
        "provenance": sections.provenance(rows),
    }


def one_scored(rows: "pd.DataFrame", objective: str | None) -> tuple["pd.DataFrame", list[str]]:
    """The rows of a sweep that can be compared, the newest ones, and why the others are left out."""
    from results.columns import SCORED_OF_OBJECTIVE
    from results.scored import newest, not_compared

    apart = []
    for metric in ("miou", *([objective] if objective in SCORED_OF_OBJECTIVE else [])):
        apart += not_compared(rows, metric)
        rows = newest(rows, metric)
    return rows, apart


def write(path: Path, html: str) -> None:
    """Write the file aside, then rename it: a report that is open elsewhere is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    aside.write_text(html, encoding="utf-8")
    aside.replace(path)


def _sections() -> Any:
    from results.report import sections

    return sections


@lru_cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html")
