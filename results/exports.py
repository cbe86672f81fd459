"""Tables for a paper: Markdown and LaTeX."""

import re
from collections.abc import Iterable, Sequence

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "→": r"$\to$", "<": r"$<$",
    ">": r"$>$", "–": "--", "µ": r"$\mu$", "×": r"$\times$",
}  # fmt: skip


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; ``|`` and line breaks inside cells are made harmless."""
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in cells
    )


def latex(head: Sequence[str], lines: Iterable[Sequence[str]], numeric: Sequence[bool]) -> str:
    r"""A LaTeX ``tabular`` with ``booktabs`` rules; ``numeric`` columns stand right; special characters are text."""
    columns = "".join("r" if is_number else "l" for is_number in numeric)
    body = [" & ".join(map(escaped, line)) + r" \\" for line in lines]
    top = " & ".join(map(escaped, head)) + r" \\"
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    )


def escaped(text: str) -> str:
    """``text`` as LaTeX prints it."""
    return re.sub(".", lambda match: _LATEX.get(match[0], match[0]), text.replace("\n", " "))
