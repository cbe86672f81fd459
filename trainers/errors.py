"""The two ways in which a stage ends that are no bug of ours, and what it warns of."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something that the user can mend. The message is one line: what, which value, what is allowed, the fix."""


class Diverged(ArithmeticError):
    """A loss stopped being finite: a result of the configuration, not a crash."""


class MethodWarning(UserWarning):
    """What a training notices and its user may want to change. Said once, in one line: what, which value, the remedy.

    Issued with ``warnings.warn`` on rank 0; whoever runs the stage passes it on to whoever watches.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt ``name``: the nearest of ``known``, or all of them when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(repr(one) for one in near) + "?"
    shown = ", ".join(known[:20]) + (f", … ({len(known)} in all)" if len(known) > 20 else "")
    return f"known: {shown}" if known else "none is known"
