"""YAML as people mean it: version 1.2, where ``0100`` is 100, ``1:30`` and ``no`` are texts, and a key comes once."""

from typing import Any


class YamlError(ValueError):
    """The text is no YAML, or says something twice; the message is one line."""


def read_yaml(text: str) -> Any:
    """Read one YAML document into plain values.

    Raises:
        YamlError: with the line where it goes wrong.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        line = f" in line {error.problem_mark.line + 1}" if "\n" in text.strip() else ""
        raise YamlError(f"{str(error.problem).partition(' with value')[0]}{line}: say it once") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" in line {mark.line + 1}" if mark is not None and "\n" in text.strip() else ""
        raise YamlError(f"{error.problem or error.context}{line}") from error
    except YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from error
