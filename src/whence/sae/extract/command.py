"""`whence sae extract`: rows through a model and its SAEs, and what is left of each row.

One pass of the model for all SAEs (`one_pass.py`), reduced while it runs (`reduce.py`), kept by
shards so that a run that was killed goes on with the next (`shards.py`), put together at the end
(`outputs.py`, `summary.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from whence.models.resumed import continue_with
from whence.models.settings import Holding, ModelSettings
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import REQUIRED_COLUMNS, load_manifest, read_split_table
from whence.runs.progress import Progress
from whence.runs.record import read_record
from whence.runs.store import Run, open_run
from whence.sae.extract.summary import doubts, layer_facts, model_facts, percent
from whence.sae.rows import Text, TokenRow, rows_of_file, token_rows
from whence.sae.settings import CONFIG_FILE, WEIGHTS_FILE, SaeSettings
from whence.sae.store import layer_file

if TYPE_CHECKING:
    import pyarrow as pa

    from whence.sae.extract.shards import Stored
    from whence.sae.load import LoadedSae


class ExtractConfig(SaeSettings, Holding, OutputConfig):
    """Encode the tokens of every row by sparse autoencoders and keep what a row amounts to."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"batch_tokens"})

    manifest: Path | None = Field(
        default=None, description="Manifest of `whence data build`; or give --dataset-path."
    )
    split: str = Field(default="score_pool", description="Split of the manifest.")
    dataset_path: Path | None = Field(
        default=None,
        description="Table with row_id, prompt and completion: JSONL, JSON, Parquet, or a saved "
        "Hugging Face data set.",
    )
    model_name: str = Field(
        default="google/gemma-3-1b-it",
        description="Model: a Hugging Face folder, a hub id, or tiny (ships with Whence).",
    )
    adapter_path: Path | None = Field(default=None, description="LoRA adapter to put on the model.")
    text: Text = Field(
        default="aligned",
        description="aligned: the token ids of finetuning and scoring, EOS included; joined: "
        "prompt, blank line and completion as one text, as in the earlier system.",
    )
    max_tokens: int = Field(
        default=2048,
        ge=2,
        description="Tokens of a row; a longer one loses its oldest prompt tokens (joined: its "
        "end).",
    )
    max_examples: int | None = Field(
        default=None, ge=1, description="Only the first rows, this many."
    )
    activation_threshold: float = Field(
        default=0.0, ge=0.0, description="A feature is active where its activation is above this."
    )
    count_bos: bool = Field(
        default=True,
        description="Count BOS as a token of the row, as the earlier system did. Its activations "
        "are unlike those of any other token.",
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Padded tokens in a batch. Default: 512 on a CPU, where more leave its caches "
        "and are slower, else 4096.",
    )
    dense_limit_gb: float = Field(
        default=2.0,
        ge=0.0,
        description="Size of one SAE's dense arrays above which sparse Parquet is written instead "
        "of an NPZ.",
    )

    @model_validator(mode="after")
    def _one_data_set(self) -> Self:
        if (self.manifest is None) == (self.dataset_path is None):
            raise ValueError("give --manifest (with --split) or --dataset-path, one of them")
        return self

    def model(self) -> ModelSettings:
        """The model's settings, as the loader takes them."""
        return ModelSettings(
            base_model=self.model_name,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            dtype=self.dtype,
            device=self.device,
        )


@dataclass(frozen=True)
class ExtractResult:
    """A folder that `whence.sae.store.open_extraction` opens. summary: its summary.json."""

    folder: Path
    summary: Mapping[str, Any]
    done: bool

    def finding(self) -> Finding:
        """What each SAE read, how sparse it is and how well it rebuilds; what does not fit."""
        summary = self.summary
        layers = summary["layers"]
        rows = [
            (
                layer["sae_id"],
                layer["hook_name"],
                f"{layer['l0_mean']:.1f}",
                percent(layer["reconstruction"]["explained_variance"]),
                f"{layer['features_never_active']:,} of {layer['d_sae']:,}",
                layer["file"],
            )
            for layer in layers
        ]
        notes = [note for layer in layers for note in doubts(layer)]
        if cut := summary["truncated_rows"]:
            notes.append(f"{cut:,} rows are longer than --max-tokens and were cut")
        done = "Already done: " if self.done else ""
        plural = "SAE" if len(layers) == 1 else "SAEs"
        headline = (
            f"{done}{summary['rows']:,} rows, {summary['tokens']:,} tokens, {len(layers)} {plural}"
        )
        return Finding(
            headline="; ".join([headline, *notes]) + ".",
            columns=("SAE", "hook", "L0", "explained variance", "never active", "file"),
            rows=rows,
            files={"features": self.folder},
        )


def extract(config: ExtractConfig) -> ExtractResult:
    """Fill a folder as `whence.sae.store` describes it.

    Raises BadInput for rows, SAEs or models that cannot be had or do not fit each other, all of it
    before the first pass; WhenceError where activations are not finite.
    """
    data: Any = config.dataset_path
    if config.manifest is not None:
        manifest = load_manifest(config.manifest)
        data = [manifest.path, manifest.split(config.split).path]
    folders = config.sae_folders()
    with open_run(
        config.output_dir,
        command="sae extract",
        config=config,
        inputs={
            "data": data,
            "model": config.model().identity(),
            "adapter": config.adapter_path,
            "saes": [folder / name for folder in folders for name in (CONFIG_FILE, WEIGHTS_FILE)]
            or None,
        },
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            _extract(config, run)
    return ExtractResult(config.output_dir, read_json(config.output_dir / "summary.json"), run.done)


def _extract(config: ExtractConfig, run: Run) -> None:
    from whence.models.anatomy import find_anatomy
    from whence.models.load import device_named, load_tokenizer
    from whence.sae.extract.fit import sampled_rows
    from whence.sae.extract.one_pass import Counting, check_counted, reduce_rows
    from whence.sae.extract.shards import make_shards, write_shard
    from whence.sae.load import check_fits, load_saes

    table = _table(config)
    tokenizer = load_tokenizer(
        config.model_name, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    texts = table.select(list(REQUIRED_COLUMNS)).to_pylist()
    rows = token_rows(texts, tokenizer, config.text, config.max_tokens)
    counting = Counting(config.activation_threshold, config.count_bos)
    check_counted(rows, counting)
    saes = load_saes(config, device_named(config.device))
    loaded = config.model().load(config.adapter_path)
    anatomy = find_anatomy(loaded.model)
    for sae in saes:
        check_fits(sae, anatomy)
    model = model_facts(loaded) | _fingerprints(run)
    deciding = {key: model[key] for key in ("revision", "dtype")}
    continue_with(deciding, run.scratch / "model.json", "rows")
    folder = run.scratch / "shards"
    folder.mkdir(exist_ok=True)
    shards = make_shards(len(rows))
    todo = [each for each in shards if not each.is_there(folder, [sae.sae_id for sae in saes])]
    done = len(rows) - sum(each.stop - each.start for each in todo)
    batch_tokens = config.batch_tokens or (512 if loaded.device.type == "cpu" else 4096)
    sample = sampled_rows([len(row.ids) for row in rows])
    with Progress("extract", len(rows), "rows", done=done) as progress:
        for shard in todo:
            reduced = reduce_rows(
                anatomy,
                saes,
                rows[shard.start : shard.stop],
                counting,
                looked_at={at - shard.start for at in sample},
                batch_tokens=batch_tokens,
                advance=progress.advance,
            )
            for sae in saes:
                write_shard(shard.file(folder, sae.sae_id), reduced[sae.sae_id], sae.d_in)
    files = {sae.sae_id: [shard.file(folder, sae.sae_id) for shard in shards] for sae in saes}
    write_outputs(config, table, rows, saes, files, model, run.folder)


def _fingerprints(run: Run) -> dict[str, str | None]:
    """What the model and its adapter are, wherever their folders lie; None for hub ids."""
    record = read_record(run.folder)
    inputs = {} if record is None else record.inputs
    return {
        f"{name}fingerprint": (inputs.get(key) or {}).get("sha256")
        for name, key in (("", "model"), ("adapter_", "adapter"))
    }


def write_outputs(
    config: ExtractConfig,
    table: pa.Table,
    rows: Sequence[TokenRow],
    saes: Sequence[LoadedSae],
    shards: Mapping[str, Sequence[Path]],
    model: Mapping[str, Any],
    folder: Path,
) -> None:
    """Put the files of `whence.sae.store` together from the shards of each SAE."""
    from whence.sae.extract.outputs import fits_dense, write_examples, write_npz, write_sparse
    from whence.sae.extract.shards import read_shard

    write_examples(folder / "examples.jsonl", table, rows)
    layers = []
    for sae in saes:
        files = shards[sae.sae_id]

        def read(files: Sequence[Path] = files) -> Iterator[Stored]:
            return map(read_shard, files)

        name = layer_file(sae.sae_id)
        if fits_dense(len(rows), sae.d_sae, config.dense_limit_gb):
            name += ".npz"
            write_npz(folder / name, read, len(rows), sae.d_sae)
        else:
            name += ".parquet"
            write_sparse(folder / name, read, [row.row_id for row in rows])
        layers.append(layer_facts(sae, read(), name))
    write_json(
        folder / "summary.json",
        {
            "rows": len(rows),
            "tokens": layers[0]["tokens"],
            "text": config.text,
            "max_tokens": config.max_tokens,
            "activation_threshold": config.activation_threshold,
            "count_bos": config.count_bos,
            "truncated_rows": sum(row.truncated for row in rows),
            "model": model,
            "dataset": {
                "manifest": _absolute(config.manifest),
                "split": None if config.manifest is None else config.split,
                "path": _absolute(config.dataset_path),
            },
            "layers": layers,
        },
    )


def _absolute(path: Path | None) -> str | None:
    """A path as a replay from another folder would also write it."""
    return None if path is None else str(path.absolute())


def _table(config: ExtractConfig) -> pa.Table:
    if config.manifest is not None:
        table = read_split_table(load_manifest(config.manifest), config.split)
    else:
        assert config.dataset_path is not None
        table = rows_of_file(config.dataset_path)
    return table if config.max_examples is None else table.slice(0, config.max_examples)
