"""What a planned run rests on: its files by content, its settings by value, condition by condition.

A run folder belongs to its inputs. Each condition has its own under its tag, so that what a failed
one used can be repaired (`whence.heads.repairs`) without losing the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whence.errors import BadInput
from whence.heads.conditions import Source, deciding, find_source
from whence.heads.plan import Plan
from whence.runs.fingerprint import fingerprint, hash_path


def corpora_folder(plan: Path, given: Path | None) -> Path:
    """Where the corpora are: as given, or in `../corpora` beside the plan's file."""
    if given is not None:
        return given
    beside = plan.absolute().parent.parent / "corpora"
    if not beside.is_dir():
        raise BadInput(f"--corpora is required: there is no {beside}")
    return beside


def sources_of(plan: Plan, corpora: Path) -> dict[str, Source | str]:
    """Tag (empty in a single run) → its files, or what is wrong.

    Raises BadInput where no condition has its files.
    """
    found: dict[str, Source | str] = {}
    for condition in plan.conditions:
        try:
            found[condition.tag or ""] = find_source(corpora, condition)
        except BadInput as error:
            found[condition.tag or ""] = str(error)
    if not any(isinstance(source, Source) for source in found.values()):
        raise BadInput("; ".join(dict.fromkeys(map(str, found.values()))))
    return found


def inputs_of(plan: Plan, sources: Mapping[str, Source | str]) -> dict[str, Any]:
    """What the record keeps of the plan, each condition's own under its tag."""
    from whence.models.load import model_source

    model = model_source(plan.model_name)
    on_hub = f"{model}@{plan.model.revision or 'main'}"
    inputs: dict[str, Any] = {
        "plan": plan.file,
        "run_name": plan.run_name,
        "model": Path(model) if Path(model).is_dir() else on_hub,
        "dtype": plan.model.dtype,
    }
    for condition in plan.conditions:
        source = sources[condition.tag or ""]
        own: dict[str, Any] = {
            "condition": deciding(condition),
            "battery": condition.battery_file,
        }
        if isinstance(source, Source):
            own |= {"corpus": source.corpus, "split": source.split}
        inputs |= {f"{name} {condition.tag or ''}".strip(): value for name, value in own.items()}
    return inputs


def repairable(inputs: Mapping[str, Any], unfinished: Sequence[str]) -> set[str]:
    """Inputs that may change without making another run.

    Files whose content the conditions' settings repeat, and all of conditions not finished.
    """
    own = {f"{name} {tag}" for name in ("condition", "corpus", "split") for tag in unfinished}
    return {"plan", *(name for name in inputs if name.startswith("battery")), *own}


def run_id_of(plan: Plan, inputs: Mapping[str, Any]) -> str:
    """The run's name and a hash that tells runs of one name apart, wherever their files lie.

    A condition of several may be repaired after others were finished under the same id, so only
    the model counts there; in a run of one, its settings count as well.
    """
    counts = ["model", "dtype", *(["condition"] if plan.single else [])]
    values = {name: inputs[name] for name in counts}
    hashed = {k: hash_path(v) if isinstance(v, Path) else v for k, v in values.items()}
    return f"{plan.run_name}_{fingerprint(hashed)[:8]}"
