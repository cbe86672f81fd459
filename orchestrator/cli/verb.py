"""What all verbs have in common before they run."""

from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from orchestrator.cli.console import escaped_output


class Verb(TyperCommand):
    """A verb that refuses a URL where it takes a path, and whose output is escaped.

    Its ``--help``, which Typer colors, is printed before a verb is invoked.
    """

    def invoke(self, ctx: Any) -> Any:
        """Look at every path, then run."""
        with escaped_output():
            self._refuse_urls(ctx.params)
            return super().invoke(ctx)

    def _refuse_urls(self, given: dict[str, Any]) -> None:
        from orchestrator.cluster import require_local

        for option in self.params:
            values = given.get(option.name or "")
            for value in values if isinstance(values, list | tuple) else [values]:
                if isinstance(value, Path):
                    require_local(value, option.opts[0])
