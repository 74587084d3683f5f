"""The hub as a tree of rollouts.

The hub cannot be reached here, so its client is replaced by one that serves a folder and remembers
what it was asked. That is a mock of an outside service: it holds which requests are made, and what
becomes of the client's errors, and nothing about the hub itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors
from huggingface_hub.hf_api import RepoFile, RepoFolder
from rollout_tree import FOLDERS, MODEL, SPLIT, TEMPERATURE, random_problem

from whence.__main__ import main
from whence.anchors.rollouts.hub import HubTree
from whence.anchors.rollouts.tree import Names
from whence.errors import BadInput
from whence.runs.jsonfile import read_json

COMMIT = "c" * 40
SPLIT_FOLDER = f"{MODEL}/{TEMPERATURE}/{SPLIT}"


class Served:
    """The four calls of HfApi that are made, over a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.listed, self.fetched = root, [], []  # type: ignore[var-annotated]

    def dataset_info(self, repo_id: str, revision: str | None = None) -> Any:
        return SimpleNamespace(sha=COMMIT)

    def list_repo_tree(
        self, repo_id: str, path_in_repo: str | None, recursive: bool, revision: str, repo_type: str
    ) -> Iterator[RepoFile | RepoFolder]:
        assert (recursive, revision, repo_type) == (False, COMMIT, "dataset")
        folder = path_in_repo or ""
        self.listed.append(folder)
        if not (self.root / folder).is_dir():
            raise errors.RemoteEntryNotFoundError("none", response=response(404))
        for path in sorted((self.root / folder).iterdir()):
            name = path.relative_to(self.root).as_posix()
            if path.is_dir():
                yield RepoFolder(path=name, oid="")
            else:
                yield RepoFile(path=name, size=1, oid="")

    def hf_hub_download(self, repo_id: str, path: str, *, repo_type: str, revision: str) -> str:
        assert (revision, repo_type) == (COMMIT, "dataset")
        self.fetched.append(path)
        if not (self.root / path).is_file():
            raise errors.RemoteEntryNotFoundError("none", response=response(404))
        return str(self.root / path)


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub"))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    for number in (1, 2, 3, 4):
        random_problem(tmp_path / "there", number, chunks=5, each=12, forced=number == 1)
    api = Served(tmp_path / "there")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    return api


def test_an_index_asks_for_no_rollout(served: Served, tmp_path: Path) -> None:
    command = ["anchors", "index", *FOLDERS, "--output-dir", str(tmp_path / "I")]
    assert main([*command, "--problem-ids", "1,3,4"]) == 0
    assert served.listed == [
        SPLIT_FOLDER,
        *(
            f"{SPLIT_FOLDER}{kind}/problem_{number}"
            for number in (1, 3, 4)
            for kind in ("", "_forced_answer")
        ),
    ]
    assert len(served.fetched) == 3 * 4
    assert not any("solutions.json" in path for path in served.fetched)
    source = read_json(tmp_path / "I" / "index.json")["source"]
    assert source["revision"] == COMMIT


def test_labels_from_the_hub_are_those_of_the_same_folder(served: Served, tmp_path: Path) -> None:
    hub, here = tmp_path / "hub", tmp_path / "here"
    assert main(["anchors", "index", *FOLDERS, "--output-dir", str(hub)]) == 0
    local = ["--root", str(served.root), "--output-dir", str(here)]
    assert main(["anchors", "index", *FOLDERS, *local]) == 0
    rollouts = ["--source", "rollouts", "--embedding-model", "tfidf"]
    for folder in (hub, here):
        command = ["anchors", "labels", "--index", str(folder), "--output-dir", f"{folder}-labels"]
        assert main([*command, *rollouts]) == 0
    for name in ("sentence_metadata.parquet", "traces.jsonl", "splits.json"):
        ours, theirs = (Path(f"{folder}-labels") / name for folder in (hub, here))
        assert ours.read_bytes() == theirs.read_bytes()


def test_what_is_not_there(served: Served) -> None:
    tree = HubTree("some/set", COMMIT, served)  # type: ignore[arg-type]
    assert tree.names("nowhere") == Names()
    assert tree.files(["nowhere.json"]) == {}
    assert tree.place("a/b.json") == "hf://datasets/some/set/a/b.json"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.GatedRepoError("x", response=response(403)), "is gated"),
        (errors.RepositoryNotFoundError("x", response=response(404)), "is not on the hub"),
        (errors.RevisionNotFoundError("x", response=response(404)), "has no revision 'v2'"),
        (httpx2.ConnectError("x"), "--root"),
        (errors.LocalEntryNotFoundError("x"), "--root"),
        (RuntimeError("two\nlines"), "cannot be read: two lines"),
    ],
)
def test_the_clients_errors_in_one_line(error: Exception, said: str) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    api: Any = SimpleNamespace(dataset_info=refuse, list_repo_tree=refuse)
    with pytest.raises(BadInput, match="data set some/set") as caught:
        HubTree("some/set", "v2", api).names("x")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_real_client_offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """HF_HUB_OFFLINE is set for all tests: nothing is asked, and the line says what to do."""
    assert main(["anchors", "index", "--output-dir", str(tmp_path / "I")]) == 2
    error = capsys.readouterr().err
    assert "HF_HUB_OFFLINE is set" in error
    assert "--root" in error
    assert error.count("\n") == 1
