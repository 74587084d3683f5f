"""What the tests of anchors share: random models of many architectures, on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The zoo is a plain module beside the tests of models: `import zoo`.
sys.path.append(str(Path(__file__).parents[1] / "models"))


@pytest.fixture(scope="session")
def zoo_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a random model of the zoo, by the name of its architecture; made once."""
    import zoo

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = zoo.save(name, tmp_path_factory.mktemp("zoo") / name)
        return made[name]

    return folder
