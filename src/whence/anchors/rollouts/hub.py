"""A tree of rollouts in a data set repository on the Hugging Face hub.

A folder is listed by one request and files are fetched one by one, several at a time: the published
repository holds hundreds of thousands of files, and a study of 20 problems needs 80 of them (a few
thousand where importance is recomputed).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whence.anchors.rollouts.tree import Names
from whence.errors import BadInput

if TYPE_CHECKING:
    from huggingface_hub import HfApi

AT_ONCE = 8
"""Downloads under way at a time: each waits for the network, and more are throttled."""


class HubTree:
    """repo_id, revision: as the hub has them; None is the newest commit, which is then kept."""

    def __init__(self, repo_id: str, revision: str | None = None, api: HfApi | None = None) -> None:
        self.repo_id, self._revision, self._api = repo_id, revision, api

    @cached_property
    def api(self) -> HfApi:
        from huggingface_hub import HfApi

        return self._api or HfApi()

    @cached_property
    def commit(self) -> str:
        """The commit that all of this tree is read from."""
        if self._revision and _is_commit(self._revision):
            return self._revision
        with _one_line(self.repo_id, self._revision):
            return str(self.api.dataset_info(self.repo_id, revision=self._revision).sha)

    def names(self, folder: str) -> Names:
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.hf_api import RepoFolder

        files: set[str] = set()
        folders: set[str] = set()
        with _one_line(self.repo_id, self._revision):
            try:
                for entry in self.api.list_repo_tree(
                    self.repo_id,
                    path_in_repo=folder or None,
                    recursive=False,
                    revision=self.commit,
                    repo_type="dataset",
                ):
                    name = entry.path.rpartition("/")[2]
                    (folders if isinstance(entry, RepoFolder) else files).add(name)
            except EntryNotFoundError:
                return Names()
        return Names(frozenset(files), frozenset(folders))

    def files(self, paths: Sequence[str]) -> dict[str, Path]:
        commit = self.commit  # asked once, here, and not by every thread
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda path: self._fetch(path, commit), paths)
            pairs = zip(paths, found, strict=True)
            return {path: file for path, file in pairs if file is not None}

    def _fetch(self, path: str, commit: str) -> Path | None:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with _one_line(self.repo_id, self._revision):
            try:
                return Path(
                    self.api.hf_hub_download(
                        self.repo_id, path, repo_type="dataset", revision=commit
                    )
                )
            except LocalEntryNotFoundError:  # it may be there; it cannot be asked for
                raise
            except EntryNotFoundError:
                return None

    def place(self, path: str) -> str:
        return f"hf://datasets/{self.repo_id}/{path}"

    def source(self) -> Mapping[str, Any]:
        return {"kind": "hub", "repo_id": self.repo_id, "revision": self.commit}


def _is_commit(revision: str) -> bool:
    return len(revision) == 40 and all(c in "0123456789abcdef" for c in revision)


@contextmanager
def _one_line(repo_id: str, revision: str | None) -> Iterator[None]:
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # the hub's client raises whatever its HTTP library does
        raise BadInput(f"data set {repo_id}: {_advice(revision, error)}") from error


def _advice(revision: str | None, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "is gated; accept its terms on its hub page, then run `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"has no revision {revision!r}; give a branch, a tag or a commit of it"
    if isinstance(error, RepositoryNotFoundError):
        return "is not on the hub; check --repo-id (private ones need `hf auth login`)"
    offline = isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled | ConnectionError)
    if offline or type(error).__module__.startswith(("httpx", "httpcore")):
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        return (
            f"{why}, and what is needed of it is not in the local cache; download it where there "
            "is a network and give its folder as --root"
        )
    return f"cannot be read: {' '.join(str(error).split())[:300] or type(error).__name__}"
