"""Configuration files: YAML or JSON mappings whose keys are a command's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from whence.errors import BadInput
from whence.runs.jsonfile import read_json


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not silently the later one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_settings(path: Path) -> dict[str, Any]:
    """Read a configuration file as it stands.

    Raises BadInput, naming file and line, when it is absent, malformed or not a mapping.
    """
    if path.suffix == ".json":
        found = read_json(path)
    else:
        try:
            found = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except FileNotFoundError:
            raise BadInput(f"{path}: no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: cannot be read ({error})") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" at line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or "malformed"
            raise BadInput(f"{path}: not YAML{line}: {problem}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput(f"{path}: holds a {type(found).__name__}, `key: value` lines were expected")
    return found
