"""`whence heads screen`: every head, node and pair estimated in a few passes, the best verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from whence.heads.battery import ActivationPatch, Battery, HeadsZero, Positions
from whence.heads.commands.found import SHOWN, HeadsResult, interval
from whence.heads.commands.single import Bench, HeadsConfig, model_line, run_id
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run
from whence.runs.tables import read_table, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

    from whence.heads.gradients import Floats
    from whence.heads.names import Head
    from whence.heads.screen_exact import Exact
    from whence.runs.store import Run

TABLE = Path("metrics") / "screen.parquet"
SUMMARY = Path("metrics") / "screen.json"

ESTIMATED = {
    "gradient": "gradient · (replacement − output) at the undisturbed run: attribution patching",
    "estimate": "the same, averaged over gates from 0 to 1 (Gauss–Radau), heads moved in parts",
    "joint": "the same with all heads moved at once: what heads do that stand in for one another",
    "pair": "synergy Δ(a, b) − Δ(a) − Δ(b): the estimate of b with a removed exactly, minus that "
    "with a left alone, other heads moved in two halves; a is one of the anchors",
    "exact": "Δ logit difference of the replacement itself; of a pair, its synergy",
}


class ScreenConfig(HeadsConfig):
    """Estimate every head, node and pair by gradients, then measure the strongest exactly."""

    against: Literal["zero", "mean", "corrupt"] = Field(
        default="zero",
        description="What takes the place of an output: nothing, its mean over prompts, or its "
        "value on the corrupt prompt.",
    )
    positions: str = Field(
        default="all",
        description="Tokens where it does: all, last_token, first, final_K, or a list as 0,2,-1.",
    )
    verify_top: int = Field(
        default=16, ge=1, description="Heads, nodes and pairs to measure exactly, of each so many."
    )
    pairs: int = Field(
        default=8,
        ge=0,
        description="Heads removed in turn to estimate their synergy with every other head; 0: no "
        "pairs.",
    )
    points: int = Field(
        default=2,
        ge=1,
        le=8,
        description="Points between a head's absence and presence where gradients are taken; 1 is "
        "plain attribution patching.",
    )
    parts: int = Field(
        default=4,
        ge=1,
        description="Parts in which heads move from presence to absence; more are nearer to one "
        "head alone, and take more passes.",
    )
    sweep: Path | None = Field(
        default=None,
        description="Exact sweep of the same model and corpus to compare all heads with.",
    )
    all_exact: bool = Field(
        default=False, description="Measure every head exactly, to compare all of them."
    )

    @field_validator("positions")
    @classmethod
    def _one_spelling(cls, value: str) -> str:
        return str(Positions(value))

    @model_validator(mode="after")
    def _one_comparison(self) -> ScreenConfig:
        if self.sweep is not None and self.all_exact:
            raise ValueError("sweep and all_exact both give every exact effect: give one of them")
        return self

    def battery(self) -> Battery:
        """What is estimated, as a battery of a configuration file."""
        positions = Positions(self.positions)
        if self.against == "corrupt":
            return ActivationPatch(granularity="head_out", positions=positions)
        return HeadsZero(method=self.against, positions=positions)


@dataclass(frozen=True)
class ScreenResult(HeadsResult):
    """The usual tables of what was measured exactly, and what was estimated."""

    @property
    def screen(self) -> pa.Table:
        """One row per head, node and pair (see docs/files.md)."""
        return read_table(self.folder / TABLE)

    @property
    def told(self) -> dict[str, Any]:
        """`metrics/screen.json`."""
        found: dict[str, Any] = read_json(self.folder / SUMMARY)
        return found

    def finding(self) -> Finding:
        """Estimates beside exact effects, and how much of the exact ranking was found."""
        from whence.heads.screen_table import parts

        told, ranked = self.told, dict(parts(self.screen))
        rows = [_row(row) for row in ranked["heads"][:SHOWN]]
        rows += [_row(row) for row in ranked["nodes"][: SHOWN // 2]]
        rows += [_row(row) for row in ranked["pairs"][: SHOWN // 2]]
        counts = [f"{len(own)} {name}" for name, own in ranked.items() if own]
        n = self.summary["n_prompts"]
        headline = (
            f"{'Already screened' if self.done_before else 'Screened'} {', '.join(counts)} in "
            f"{told['passes']} passes over {n} distinct prompt{'s' if n != 1 else ''}. "
            f"{_strongest(ranked['heads'])} {_recall(told)}"
        )
        return Finding(
            headline=headline.strip(),
            columns=("what", "gradient", "estimate", "exact", "95 % interval"),
            rows=rows,
            files={"screen": self.folder / TABLE, **super().finding().files},
        )


def screen(config: ScreenConfig) -> ScreenResult:
    """Write `metrics/screen.parquet` and `screen.json`, and the usual tables of what was verified.

    A killed screen goes on with the passes and start layers that are missing. Raises BadInput for
    whatever of model, corpus or settings does not fit.
    """
    with open_run(
        config.output_dir,
        command="heads screen",
        config=config,
        inputs={**config.inputs(), "sweep": config.sweep},
        overwrite=config.overwrite,
        seeds=config.seeds,
    ) as run:
        if not run.done:
            _screen(config, run)
    done = HeadsResult.read(config.output_dir, run.done)
    return ScreenResult(done.folder, done.tables, done.done_before)


def _screen(config: ScreenConfig, run: Run) -> None:
    from whence.heads.gradients import Gates
    from whence.heads.metrics import requested
    from whence.heads.outputs import write_condition, write_report
    from whence.heads.screen import screen as estimate
    from whence.heads.screen_exact import measure_exactly
    from whence.heads.screen_table import agreement, screen_table, strongest

    metrics = requested(config.metrics, full_target=config.metric_span == "full_target")
    bench = _chosen(config, config.bench())
    positions = Positions(config.positions)
    anatomy = bench.anatomy
    names = [(at, head) for at in range(anatomy.n_layers) for head in range(anatomy.n_heads)]
    _swept(config, bench, names, None)
    gates = Gates(
        bench.replay,
        bench.examples.rows,
        config.against,
        positions,
        batch_size=config.batch_size,
        memory_gb=config.memory_gb,
        device=bench.loaded.device,
    )
    found = estimate(
        gates,
        run.scratch / "passes",
        anchors=config.pairs,
        points=config.points,
        parts=config.parts,
    )
    top = config.verify_top
    exact = measure_exactly(
        bench.replay,
        bench.examples,
        config.against,
        positions,
        config.reading(),
        run.scratch / "shards",
        heads=found.names
        if config.all_exact
        else [found.names[n] for n in strongest(found.estimate, top)],
        pairs=[found.pairs[n] for n in strongest(found.pair_estimate, top)],
        nodes=[found.nodes[n] for n in strongest(found.node_estimate, top)],
        device=bench.loaded.device,
    )
    every = dict(exact.heads) if config.all_exact else _swept(config, bench, found.names, exact)
    number: dict[tuple[int, ...], int] = {}
    prompts = [number.setdefault(row.clean, len(number)) for row in bench.examples.rows]
    name = run_id("heads screen", config)
    table = screen_table(found, exact, every, prompts)
    write_parquet(table, run.folder / TABLE)
    write_json(
        run.folder / SUMMARY,
        {
            "run_id": name,
            "against": config.against,
            "positions": config.positions,
            "estimated": ESTIMATED,
            "passes": found.passes,
            "points": config.points,
            "parts": config.parts,
            "anchors": [f"{layer}:{head}" for layer, head in found.anchors],
            "counts": {
                "heads": len(found.names),
                "nodes": len(found.nodes),
                "pairs": len(found.pairs),
                "verified": sum(table["verified"].to_pylist()),
            },
            "exact_effects_of_all_heads": "measured"
            if config.all_exact
            else None
            if config.sweep is None
            else str(config.sweep),
            "agreement": agreement(found, every) if every else None,
        },
    )
    tables = write_condition(
        run.folder,
        exact.result,
        run_id=name,
        condition=None,
        battery=config.battery().model_dump(mode="json"),
        model=model_line(config.model, bench.loaded, anatomy),
        metrics=metrics,
        corpus={"path": str(config.corpus), "part": config.part},
    )
    write_report(run.folder, {"": tables})


def _chosen(config: ScreenConfig, bench: Bench) -> Bench:
    """The bench with the examples that take part: those that meet, and the first seed's draw."""
    from whence.heads.chosen import subsamples, that_meet

    battery, examples = config.battery(), bench.examples
    if isinstance(battery, ActivationPatch):
        examples = that_meet(examples, battery)
    # The run that is patched into is the clean prompt's, so prompts are drawn as for an ablation.
    drawn = subsamples(examples, config.reading(), None)
    if drawn:
        prompts = next(iter(drawn.values()))
        examples = examples.only([n for n, row in enumerate(examples.rows) if row.clean in prompts])
    return replace(bench, examples=examples)


def _swept(
    config: ScreenConfig, bench: Bench, names: Sequence[Head], exact: Exact | None
) -> dict[Head, Floats]:
    """Exact changes of all heads from `--sweep`; exact None only checks what can be before it."""
    from whence.heads.screen_exact import read_sweep

    if config.sweep is None:
        return {}
    clean = None
    if exact is not None:
        column = exact.result.per_example["clean_logit_diff"]
        clean = column.slice(0, len(bench.examples.rows)).to_numpy()
    return read_sweep(
        config.sweep,
        bench.examples,
        config.against,
        Positions(config.positions),
        clean=clean,
        names=names,
        dtype=str(bench.loaded.dtype).removeprefix("torch."),
    )


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    known = row["exact"] is not None
    return (
        _what(row),
        f"{row['gradient']:+.4f}",
        f"{row['estimate']:+.4f}",
        f"{row['exact']:+.4f}" if known else "not measured",
        interval(row["exact_ci_low"], row["exact_ci_high"]) if known else "",
    )


def _what(row: dict[str, Any]) -> str:
    if row["kind"] == "head":
        return f"{row['layer']}:{row['head']}"
    if row["kind"] == "pair":
        return f"{row['layer']}:{row['head']} + {row['layer_b']}:{row['head_b']} synergy"
    return f"{row['kind']} {row['layer']}"


def _strongest(heads: Sequence[dict[str, Any]]) -> str:
    best = max((row for row in heads if row["verified"]), key=lambda row: abs(row["exact"]))
    return (
        f"Strongest head: {_what(best)}, Δ logit difference {best['exact']:+.4f} exactly, "
        f"{best['estimate']:+.4f} estimated."
    )


def _recall(told: dict[str, Any]) -> str:
    agreed = told["agreement"]
    if agreed is None:
        return ""
    found = [
        f"@{k} {one['value']:.2f} (gradient alone {agreed['recall']['gradient'][k]['value']:.2f}, "
        f"output norm {agreed['recall']['output_norm'][k]['value']:.2f}, random "
        f"{agreed['random'][k]:.2f})"
        for k, one in agreed["recall"]["estimate"].items()
    ]
    rho = agreed["spearman"]["estimate"]["value"]
    return f"Recall {', '.join(found)}; Spearman {'undefined' if rho is None else f'{rho:.2f}'}."
