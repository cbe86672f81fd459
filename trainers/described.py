"""Read the JSON that a stage left beside its files, as the model that describes it."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trainers.errors import UserError


def read_described(path: Path, kind: Any) -> Any:
    """The content of ``path`` as a ``kind``: a pydantic model, or any type that pydantic validates.

    Raises:
        UserError: it is no JSON, or not of this shape.
    """
    try:
        return _adapter(kind).validate_python(json.loads(path.read_bytes()))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        told = f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
    except ValueError as error:
        told = str(error)
    raise UserError(
        f"{path} does not describe what lies beside it ({told}); restore it, or let its stage be made again"
    )


@lru_cache
def _adapter(kind: Any) -> Any:  # A TypeAdapter: a hint that beartype does not know.
    return TypeAdapter(kind)
