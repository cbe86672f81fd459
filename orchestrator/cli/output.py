"""One answer in the form that was asked for."""

import sys
from collections.abc import Callable, Sequence

import pandas as pd

from orchestrator.cli.options import Format
from orchestrator.cli.tables import cells, is_numeric, show_frame, split_constants


def write(
    table: pd.DataFrame, form: Format, view: Callable[[pd.DataFrame], pd.DataFrame], *, notes: Sequence[str] = ()
) -> None:
    """``table`` whole as CSV or JSON; as ``view`` shows it as a table, in Markdown or LaTeX.

    What all lines of a table share stands above it, ``notes`` below.
    """
    if form == "csv":
        sys.stdout.write(table.to_csv(index=False))
    elif form == "json":
        sys.stdout.write(table.to_json(orient="records", date_format="iso") + "\n")
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
