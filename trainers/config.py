"""What every method's configuration has in common.

A configuration is a frozen pydantic model beside the code that it configures; the docstring under a
field gives its unit, range and source, and is shown by ``nightshift show``.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

RUNTIME = {"runtime": True}
"""Marks a field that changes how fast a stage runs, never what it computes."""


class Config(BaseModel):
    """Base of all configurations: immutable, unknown keys forbidden."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


def runtime_field(default: Any, **constraints: Any) -> Any:
    """A field that is left out of stage keys because no result depends on it."""
    return Field(default, json_schema_extra=RUNTIME, **constraints)


def keyed(config: BaseModel) -> dict[str, Any]:
    """The part of ``config`` that results depend on, as plain JSON values, defaults filled in."""
    dumped = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if field.json_schema_extra == RUNTIME:
            del dumped[name]
        elif isinstance(value, BaseModel):
            dumped[name] = keyed(value)
    return dumped
