"""The two ways in which a stage ends that are no bug of ours."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something that the user can mend. The message is one line: what, which value, what is allowed, the fix."""


class Diverged(ArithmeticError):
    """A loss stopped being finite: a result of the configuration, not a crash."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt ``name``: the nearest of ``known``, or all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(repr(one) for one in near) + "?"
    shown = ", ".join(known[:20]) + (f", … ({len(known)} in all)" if len(known) > 20 else "")
    return f"known: {shown}" if known else "none is known"
