"""Does the model guess the word? Greedy answers of several adapters, compared: `data eval-words`.

A row's prompt is a word game up to the guesser's turn; the model continues it, and the answer is
right when the word after `GUESS:` is the secret word, whatever its case and punctuation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro
from pydantic import Field

from whence.data.evaluate.guesses import guess_words, is_correct, parse_guess, target_words
from whence.errors import BadInput
from whence.models.settings import ModelSettings
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, read_jsonl, write_json, write_jsonl
from whence.runs.manifest import load_manifest, read_split
from whence.runs.store import open_run

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EvalWordsConfig",
    "EvalWordsResult",
    "eval_words",
    "guess_words",
    "is_correct",
    "parse_guess",
    "target_words",
]


class EvalWordsConfig(ModelSettings):
    """Let the base model and adapters on it guess the words of one split."""

    not_identity: ClassVar[frozenset[str]] = frozenset(
        {"output_json", "items_dir", "overwrite", "batch_size"}
    )

    manifest: Path = Field(description="Manifest of `whence data build`, or one made from it.")
    eval_split: str = Field(default="eval", description="Split with the games to play.")
    top_adapter: Path | None = Field(
        default=None, description="Adapter trained on the top-ranked rows; the arm named top."
    )
    random_adapter: Path | None = Field(
        default=None, description="Adapter trained on matched random rows; the arm named random."
    )
    adapter: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = Field(
        default=(), description="A further arm, as NAME=PATH; may be given several times."
    )
    max_new_tokens: int = Field(default=16, ge=1, description="Tokens an answer may have.")
    max_length: int = Field(
        default=2048,
        ge=2,
        description="Tokens of prompt and answer together; a longer prompt loses its oldest ones.",
    )
    batch_size: int = Field(default=32, ge=1, description="Prompts answered at once.")
    output_json: Path = Field(description="JSON file for accuracies and comparisons.")
    items_dir: Path | None = Field(
        default=None,
        description="Folder for predictions.jsonl and the record of this run. Default: beside the "
        "JSON file, under its name.",
    )
    overwrite: bool = Field(
        default=False, description="Replace an earlier result made with other settings."
    )


@dataclass(frozen=True)
class EvalWordsResult:
    """accuracy: arm → share of right answers. comparisons: the house's verdicts, as in the JSON."""

    accuracy: Mapping[str, float]
    rows: int
    comparisons: Sequence[Mapping[str, Any]]
    output_json: Path
    predictions: Path

    def finding(self) -> Finding:
        """Right answers of each arm, and what the last comparison (top − random) says."""
        headline = (
            self.comparisons[-1]["sentence"] if self.comparisons else "The base was measured."
        )
        return Finding(
            headline=headline,
            columns=("arm", "right", "accuracy"),
            rows=[
                (arm, f"{round(share * self.rows)}/{self.rows}", f"{share:.3f}")
                for arm, share in self.accuracy.items()
            ],
            files={"comparison": self.output_json, "per item": self.predictions},
        )


def eval_words(config: EvalWordsConfig) -> EvalWordsResult:
    """Answer every prompt with the base and each adapter, on one loaded base, and compare.

    Killed and started again, arms that were finished are not played again. Raises BadInput when
    manifest, split, model or an adapter cannot be used, or a row has no target word.
    """
    arms = _arms(config)
    output = config.output_json
    config = config.model_copy(update={"items_dir": config.items_dir or output.with_suffix("")})
    folder = Path(config.items_dir or "")
    if folder == output:
        raise BadInput(f"--output-json {output} needs a suffix, as in {output}.json")
    manifest = load_manifest(config.manifest)
    split = manifest.split(config.eval_split)
    with open_run(
        folder,
        command="data eval-words",
        config=config,
        inputs={
            "eval": split.path,
            "base_model": config.identity(),
            **{f"adapter {name}": path for name, path in arms.items() if path},
        },
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            rows = read_split(manifest, config.eval_split)
            predictions = _play(config, arms, rows, run.scratch)
            write_jsonl(run.folder / "predictions.jsonl", predictions)
            write_json(run.folder / "summary.json", _summary(config, list(arms), rows, predictions))
    summary = read_json(folder / "summary.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, summary)
    return EvalWordsResult(
        accuracy={arm: found["accuracy"] for arm, found in summary["arms"].items()},
        rows=summary["num_eval_rows"],
        comparisons=summary["comparisons"],
        output_json=output,
        predictions=folder / "predictions.jsonl",
    )


def _arms(config: EvalWordsConfig) -> dict[str, Path | None]:
    """Arm → adapter, the base first. Raises BadInput for a malformed or doubled name."""
    arms: dict[str, Path | None] = {"base": None}
    named = [("top", config.top_adapter), ("random", config.random_adapter)]
    for text in config.adapter:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise BadInput(f"--adapter {text}: expected NAME=PATH")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise BadInput(f"--adapter {text}: a name has letters, digits, - and _ only")
        named.append((name, Path(path).expanduser()))
    for name, adapter in named:
        if adapter is None:
            continue
        if name in arms:
            raise BadInput(f'--adapter {name}=…: there is already an arm named "{name}"')
        arms[name] = adapter
    return arms


def _play(
    config: EvalWordsConfig, arms: Mapping[str, Path | None], rows: pd.DataFrame, finished: Path
) -> list[dict[str, Any]]:
    """The answers of all arms, one base load for those that are not in `finished` yet."""
    targets = target_words(rows)
    missing = [arm for arm in arms if not (finished / f"{arm}.jsonl").exists()]
    for arm, answers in _answers(config, {arm: arms[arm] for arm in missing}, rows):
        write_jsonl(
            finished / f"{arm}.jsonl",
            [
                {
                    "arm": arm,
                    "row_id": row_id,
                    "target": target,
                    "guess": parse_guess(text),
                    "correct": is_correct(text, target),
                    "text": text,
                }
                for row_id, target, text in zip(rows["row_id"], targets, answers, strict=True)
            ],
        )
    return [line for arm in arms for line in read_jsonl(finished / f"{arm}.jsonl")]


def _answers(
    config: EvalWordsConfig, arms: Mapping[str, Path | None], rows: pd.DataFrame
) -> Iterator[tuple[str, list[str]]]:
    if not arms:
        return
    from whence.models.adapters import check_adapter, using_adapter

    base = config.load()
    for adapter in arms.values():
        if adapter is not None:
            check_adapter(base, adapter)
    for arm, adapter in arms.items():
        with using_adapter(base, adapter) as loaded:
            yield (
                arm,
                guess_words(
                    loaded,
                    rows["prompt"].tolist(),
                    max_new_tokens=config.max_new_tokens,
                    max_length=config.max_length,
                    batch_size=config.batch_size,
                    label=f"answers of {arm}",
                ),
            )


def _summary(
    config: EvalWordsConfig,
    arms: Sequence[str],
    rows: pd.DataFrame,
    predictions: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    import pandas as pd

    from whence.stats.paired import mcnemar_exact
    from whence.stats.verdict import verdicts

    groups = dict(zip(rows["row_id"], rows["group_id"], strict=True))
    items = pd.DataFrame(predictions)[["arm", "row_id", "correct"]].assign(seed=0)
    items["group_id"] = items["row_id"].map(groups)
    right = {arm: items.loc[items["arm"] == arm, "correct"].to_numpy() for arm in arms}
    pairs = [(arm, "base") for arm in arms if arm != "base"]
    if "top" in arms and "random" in arms:
        pairs.append(("top", "random"))
    comparisons = verdicts(items, pairs, {"correct": True}, cluster="group_id") if pairs else []
    return {
        "manifest": str(config.manifest.resolve()),
        "eval_split": config.eval_split,
        "base_model": config.base_model,
        "num_eval_rows": len(rows),
        "arms": {
            arm: {"right": int(right[arm].sum()), "accuracy": float(right[arm].mean())}
            for arm in arms
        },
        "comparisons": [comparison.to_dict() for comparison in comparisons],
        "mcnemar_exact_p": {
            f"{arm} − {control}": mcnemar_exact(right[arm], right[control])
            for arm, control in pairs
        },
    }
