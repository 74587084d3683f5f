"""The instances file of a run: a file, or one that is fetched once and then kept with the games."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from whence.data.instances import Instances, read_instances
from whence.errors import BadInput
from whence.runs.atomic import write_text
from whence.runs.record import read_record

CLEMBENCH = "https://raw.githubusercontent.com/clp-research/clembench/main/taboo/in/instances.json"
KEPT = "instances.json"
"""Name of the fetched file among a run's outputs."""
SECONDS = 60.0
LARGEST = 64 * 2**20


@dataclass(frozen=True)
class Obtained:
    """instances: as read. recorded: what the record's inputs hold. text: a fetched file's content,
    to be kept in the run; None for a file on disk.
    """

    instances: Instances
    recorded: Any
    text: str | None


def obtain_instances(place: str, output_dir: Path) -> Obtained:
    """Read the instances at a path or an http(s) address.

    What was fetched for this run before (finished or not) is read again from its folder. Raises
    BadInput as `read_instances` does, where the address cannot be had, and for one that may hold a
    secret, since the record keeps it.
    """
    if not place.startswith(("http://", "https://")):
        path = Path(place).expanduser()
        return Obtained(read_instances(path), path, None)
    parts = urlsplit(place)
    if "@" in parts.netloc or parts.query:
        raise BadInput(
            "--instances is an address with a user, a password or a query, and would be written "
            "into the record; download the file and give its path"
        )
    text = _kept(place, output_dir) or _fetched(place)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / KEPT
        write_text(copy, text)
        try:
            instances = replace(read_instances(copy), path=Path(KEPT))
        except BadInput as error:
            raise BadInput(str(error).replace(str(copy), place)) from None
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Obtained(instances, {"url": place, "sha256_of_content": digest}, text)


def _kept(place: str, output_dir: Path) -> str | None:
    """What an earlier process of this run fetched from there."""
    for folder in (output_dir.with_name(f"{output_dir.name}.partial"), output_dir):
        record = read_record(folder) if folder.is_dir() else None
        same = record is not None and record.config.get("instances") == place
        if same and (folder / KEPT).is_file():
            return (folder / KEPT).read_text(encoding="utf-8")
    return None


def _fetched(place: str) -> str:
    import httpx

    try:
        response = httpx.get(place, timeout=SECONDS, follow_redirects=True)
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        reason = f"HTTP {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError) as error:
        # The last two: a proxy in the environment that cannot be used.
        reason = " ".join(str(error).split()) or type(error).__name__
    else:
        if len(response.content) <= LARGEST:
            return response.text
        reason = f"more than {LARGEST // 2**20} MiB"
    raise BadInput(
        f"--instances {place}: cannot be fetched ({reason}); download clembench's "
        "taboo/in/instances.json elsewhere and give the file"
    )
