"""What every method's configuration has in common.

A configuration is a frozen pydantic model in ``<method>_config.py`` beside the method that it configures; the
docstring under a field gives its unit, range and source, and is shown by ``nightshift show``. These
modules import no torch, so a misspelt field is answered at once.
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

RUNTIME: dict[str, Any] = {"runtime": True}
"""Marks a field that changes how fast a stage runs, never what it computes."""

ADDED: dict[str, Any] = {"added": True}
"""Marks a field that came after keys were made: at its default it stays out of them, so they keep their value."""

SeedFrom = Literal["sweep", "trial"]
"""Where a stage takes its seed from; ``None`` beside a method says that it draws no random numbers."""


class Config(BaseModel):
    """Base of all configurations: immutable, unknown keys forbidden."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def content(self) -> dict[str, Any]:
        """What stands in a stage key in place of fields that only point at content, such as a path."""
        return {}

    def reads_input(self, role: str) -> bool:
        """Whether anything is read of the input ``role``; what is not is no input: it is neither made nor keyed.

        Data sets are taken as read: they are there for what the configuration names, or was made of them.
        """
        return True

    def shown_in(self, part: str) -> "Config | None":
        """The split whose scenes and labels ``part`` of the data set that this stage makes shows; ``None``: its own."""
        return None

    def resolved(self, *, device_type: str) -> "Config":
        """The configuration with every ``auto`` decided for the hardware; keys are made of this one."""
        return self


def runtime_field(default: Any, **constraints: Any) -> Any:
    """A field that is left out of stage keys because no result depends on it."""
    return Field(default, json_schema_extra=RUNTIME, **constraints)


def added_field(default: Any, **constraints: Any) -> Any:
    """A field that is left out of stage keys while it has its default, which is what all did before it existed."""
    return Field(default, json_schema_extra=ADDED, **constraints)


def keyed(config: BaseModel) -> dict[str, Any]:
    """The part of ``config`` that results depend on, as plain JSON values, defaults filled in."""
    dumped: Any = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if field.json_schema_extra == RUNTIME or (field.json_schema_extra == ADDED and value == field.default):
            del dumped[name]
        elif isinstance(value, Config) and isinstance(dumped[name], dict):
            dumped[name] = keyed(value)
    return {**dumped, **(config.content() if isinstance(config, Config) else {})}


def walk(config: BaseModel) -> Iterator[BaseModel]:
    """``config`` and every model inside it, also those inside tuples."""
    yield config
    for name in type(config).model_fields:
        value = getattr(config, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, BaseModel):
                yield from walk(item)
