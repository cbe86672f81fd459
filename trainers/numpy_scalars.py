"""Numbers that other projects leave beside their weights as NumPy scalars (``best_pred``), read without pickle's risks.

Reading with ``weights_only`` refuses NumPy's own functions. These stand in for the two that a scalar is made with; they
take the item types of plain numbers and nothing else.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_KINDS = "biuf"
"""Boolean, signed and unsigned integer, floating: types without objects, names or parts in them."""


class ScalarType:
    """Stands for ``numpy.dtype``: the type of one plain number."""

    def __init__(self, name: str, *_: object) -> None:
        kind = np.dtype(name) if isinstance(name, str) and name[:1] in _KINDS and name[1:].isdigit() else None
        if kind is None:
            raise ValueError(f"{name!r} is not the type of a plain number")
        self.dtype = kind

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Only the order of the bytes, which is the second entry, says anything about a plain number."""
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def read_scalar(kind: ScalarType, content: bytes) -> bool | int | float:
    """Stands for ``numpy.core.multiarray.scalar``: a Python number."""
    value: bool | int | float = np.frombuffer(content, dtype=kind.dtype, count=1)[0].item()
    return value


READERS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (ScalarType, "numpy.dtype"),
    (read_scalar, "numpy.core.multiarray.scalar"),
    (read_scalar, "numpy._core.multiarray.scalar"),
]
"""What ``torch.serialization.safe_globals`` takes: a function, and the name in the file that it answers to."""
