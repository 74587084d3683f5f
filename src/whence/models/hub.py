"""The hub, when it is not there: answer quickly, and say in one line what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from whence.errors import BadInput

HUB_SECONDS = 5.0


def files_only(source: str) -> bool:
    """Whether only files that are here already can be used for `source`, a folder or a hub id.

    The hub's client tries again for 50 s where there is no network, so it is asked once first.
    """
    from huggingface_hub import constants

    if Path(source).is_dir() or constants.HF_HUB_OFFLINE:
        return True
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_SECONDS).close()
    except HTTPError:
        return False  # it answers, whatever it says to this question
    except (OSError, ValueError):
        return True
    return False


@contextmanager
def advised(source: str, revision: str | None) -> Iterator[None]:
    """Turn what Transformers and the hub client raise into one line that says what to do."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise BadInput(_advice(source, revision, error)) from error


def _advice(source: str, revision: str | None, error: BaseException) -> str:
    from huggingface_hub import constants, errors

    causes: list[BaseException] = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) and inner not in causes:
        causes.append(inner)

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if caused_by(errors.GatedRepoError):
        return (
            f"model {source} is gated: accept its terms on its hub page, then run `hf auth login` "
            "(or set HF_TOKEN)"
        )
    if caused_by(errors.RevisionNotFoundError):
        return (
            f"model {source} has no revision {revision!r}: give a branch, a tag or a commit of it"
        )
    if caused_by(errors.RepositoryNotFoundError):
        return (
            f"no model {source} on the hub: check the spelling; "
            "if it is private, run `hf auth login` (or set HF_TOKEN)"
        )
    if caused_by(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) or (
        "connection error" in str(error)
    ):
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        return (
            f"model {source} is not in the local cache and {why}: "
            f"run `hf download {source}` where there is a network, or give a local folder, or tiny"
        )
    if "trust_remote_code" in str(error):
        return f"model {source} brings its own code: read it, then add --trust-remote-code"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"model {source} cannot be loaded: {lines[0] if lines else type(error).__name__}"
