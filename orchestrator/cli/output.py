"""One answer in the form that was asked for."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pandas as pd

from orchestrator.cli.console import write_data
from orchestrator.cli.options import Format
from orchestrator.cli.tables import cells, is_numeric, show_frame, split_constants


@contextmanager
def naming_skipped_files() -> Iterator[None]:
    """One line on standard error for each file that a leaderboard could not read inside the block."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="skipped ", category=UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(str(one.message) for one in caught):
                sys.stderr.write(f"warning: {message}\n")


def write(
    table: pd.DataFrame, form: Format, view: Callable[[pd.DataFrame], pd.DataFrame], *, notes: Sequence[str] = ()
) -> None:
    """``table`` whole as CSV or JSON; as ``view`` shows it as a table, in Markdown or LaTeX.

    What all lines of a table share stands above it, ``notes`` below.
    """
    if form == "csv":
        write_data(table.to_csv(index=False))
    elif form == "json":
        sys.stdout.write(table.to_json(orient="records", date_format="iso", double_precision=15) + "\n")
    else:
        common, lines = split_constants(view(table))
        if form == "table":
            show_frame(lines, title="  ".join(f"{name}={value}" for name, value in common.items()))
            sys.stdout.writelines(f"{note}\n" for note in notes)
        else:
            sys.stdout.write(_typeset(lines, form) + "\n")


def _typeset(lines: pd.DataFrame, form: Format) -> str:
    from results.exports import latex, markdown

    body = [cells(line) for line in lines.itertuples(index=False)]
    head = [str(name) for name in lines.columns]
    return (
        markdown(head, body) if form == "markdown" else latex(head, body, [is_numeric(lines[name]) for name in lines])
    )
