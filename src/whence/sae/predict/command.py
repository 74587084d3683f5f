"""`whence sae predict`: attribution predicted from SAE features, beside what is known without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.manifest import load_manifest
from whence.runs.ranking import scores_file
from whence.runs.store import Run, open_run
from whence.sae.predict.saved import FOLDER, predictor_folder
from whence.sae.predict.settings import PredictConfig
from whence.sae.predict.told import COLUMNS, applied_headline, headline, table
from whence.sae.store import Extraction, open_extraction
from whence.text.embedding import TFIDF, embedding_identity

if TYPE_CHECKING:
    from whence.sae.predict.baselines import Baseline
    from whence.sae.predict.material import Material

APPROXIMATE = (
    "features were projected, so a feature's weight also holds some of that of features which the "
    "projection puts near it; --sae-projection-dim 0 gives each its own"
)


@dataclass(frozen=True)
class PredictResult:
    """summary: what `summary.json` holds. done: an earlier run had made it."""

    folder: Path
    summary: Mapping[str, Any]
    done: bool

    def finding(self) -> Finding:
        """Whether SAE features predict attribution, and better than what."""
        done = "Already done: " if self.done else ""
        files = {
            "rows, best first": self.folder / "row_scores.jsonl",
            "ranking to select by": self.folder / "scores.parquet",
            "summary": self.folder / "summary.json",
        }
        if "applied_from" in self.summary:
            return Finding(headline=done + applied_headline(self.summary), files=files)
        files |= {
            "ranking out of fold": self.folder / "scores_out_of_fold.parquet",
            "predictor, for --apply": self.folder / FOLDER,
        }
        return Finding(
            headline=done + self.summary["headline"],
            columns=COLUMNS,
            rows=table(self.summary),
            files=files,
        )


def predict(config: PredictConfig) -> PredictResult:
    """Fit, judge and save a predictor; or apply one that was saved.

    Raises BadInput naming the file, row, key or flag that does not fit.
    """
    applied = None if config.apply is None else predictor_folder(config.apply)
    wanted = config.sae_id if applied is None else read_json(applied / "predictor.json")["sae_ids"]
    extraction = open_extraction(config.sae_dir, wanted)
    with open_run(
        config.output_dir,
        command="sae predict",
        config=config,
        inputs=_inputs(config, extraction, applied),
        overwrite=config.overwrite,
        seeds=[config.seed] if applied is None else [],
    ) as run:
        if not run.done:
            _run(config, extraction, run)
    summary = read_json(config.output_dir / "summary.json")
    return PredictResult(config.output_dir, summary, run.done)


def _inputs(config: PredictConfig, extraction: Extraction, applied: Path | None) -> dict[str, Any]:
    listed = [extraction.folder / name for name in ("examples.jsonl", "summary.json")]
    files = [*listed, *extraction.files.values()]
    inputs: dict[str, Any] = {
        "scores": None if config.scores is None else scores_file(config.scores),
        # A file that is not there is named by what reads it, with what to do.
        "features": [path for path in files if path.is_file()],
        "predictor": applied,
    }
    if config.manifest is not None:
        manifest = load_manifest(config.manifest)
        inputs["manifest"] = manifest.path
        inputs["queries"] = manifest.split(config.query_split).path
    if applied is None and config.embedding_model not in (None, TFIDF):
        inputs["embedding_model"] = embedding_identity(str(config.embedding_model))
    if config.text_encoder is not None:
        from whence.text.encoder import encoder_identity

        inputs["text_encoder"] = encoder_identity(config.text_encoder)
    return inputs


def _run(config: PredictConfig, extraction: Extraction, run: Run) -> None:
    from whence.sae.predict.apply import apply_predictor

    if config.apply is not None:
        apply_predictor(config, extraction, run.folder)
    else:
        _fit(config, extraction, run)


def _fit(config: PredictConfig, extraction: Extraction, run: Run) -> None:
    from dataclasses import replace

    from whence.sae.predict.apply import extraction_identity
    from whence.sae.predict.baselines import run_baselines
    from whence.sae.predict.design import make_design
    from whence.sae.predict.fitting import as_predictor, fit, out_of_fold
    from whence.sae.predict.judged import judge, overlap
    from whence.sae.predict.material import load_material, row_digests
    from whence.sae.predict.outputs import distribution, strongest, write_out_of_fold, write_rows
    from whence.sae.predict.saved import save_predictor

    material = load_material(config, extraction)
    rows, target, train = material.rows, material.target, material.train_rows
    design = make_design(material.layers, config.sae_projection_dim, config.seed)
    ridge = fit(design.columns, target, train, material.folds, l2=config.sae_ridge_l2)
    predictor = as_predictor(design, ridge, material.layers, train)
    predicted = predictor.predict(material.layers)
    held_out, penalties = out_of_fold(design, target, material.folds, config.sae_ridge_l2)
    baselines = run_baselines(config, material, run.scratch)

    about = {
        "target": {
            "type": config.target_type,
            "train_distribution": distribution(target[train]),
            "train_scores": distribution(rows["score"].to_numpy()[train]),
        },
        "extraction": extraction_identity(extraction),
        "max_tokens": extraction.summary.get("max_tokens"),
        "predictions_in_training": distribution(predicted[train]),
        "settings": _settings(config, ridge.l2),
        "trained_on": row_digests(rows.iloc[train]),
    }
    save_predictor(replace(predictor, about=about), run.folder / FOLDER)
    parts = np.where(material.test, "test", "train").tolist()
    known = {
        "pred_out_of_fold": held_out,
        "target_score_raw": rows["score"].to_numpy(),
        "target_rank": rows["rank"].to_numpy(),
        "target_value": target,
        "abs_error": np.abs(predicted - target),
    }
    write_rows(run.folder, rows, predicted, parts, material.lengths, known)
    write_out_of_fold(run.folder, rows["row_id"].tolist(), held_out, material.lengths)
    in_sample = {"in_sample_rows": len(train)}
    judged = _judged(material, predicted, baselines)
    summary = {
        "target_type": config.target_type,
        "rows": len(rows),
        "train_rows": len(train),
        "train_groups": len({material.groups[row] for row in train}),
        **judged,
        "oof_metrics": judge(
            held_out, target, material.groups, material.top_k, folds=len(penalties)
        ),
        "all_metrics": {
            **judge(predicted, target, material.groups, material.top_k, intervals=False),
            **in_sample,
        },
        "topk_overlap_with_target": {**overlap(predicted, target, material.top_k), **in_sample},
        "regularisation": {
            "l2": ridge.l2,
            "given": config.sae_ridge_l2 is not None,
            "search": ridge.search,
            "out_of_fold_l2": penalties,
        },
        "columns": design.columns.width,
        "strongest": strongest(predictor, material.layers, train),
        "strongest_note": APPROXIMATE if any(p is not None for p in design.projections) else None,
        "extraction": extraction_identity(extraction),
        "settings": _settings(config, ridge.l2),
    }
    write_json(run.folder / "summary.json", {"headline": headline(summary), **summary})


def _judged(
    material: Material, predicted: np.ndarray[Any, Any], baselines: list[Baseline]
) -> dict[str, Any]:
    """Everything that is said of the held-out rows."""
    from whence.sae.predict.judged import compare, judge, scaled_top

    test, target = material.test, material.target[material.test]
    groups = [group for group, out in zip(material.groups, test, strict=True) if out]
    k = scaled_top(material.top_k, len(target), len(test))
    others = {each.name: each.predicted[test] for each in baselines if each.predicted is not None}
    told: dict[str, Any] = {}
    for each in baselines:
        told[each.name] = {"what": each.what}
        if each.name in others:
            metrics = judge(others[each.name], target, groups, k)
            told[each.name] |= {"l2": each.l2, "test_metrics": metrics}
        else:
            told[each.name]["not_run"] = each.reason
    comparisons, left_out = compare(predicted[test], others, target, groups)
    return {
        "test_metrics": judge(predicted[test], target, groups, k),
        "baselines": told,
        "comparisons": [each.to_dict() for each in comparisons],
        "comparisons_left_out": left_out,
    }


def _settings(config: PredictConfig, l2: float) -> dict[str, Any]:
    return {
        "sae_id": config.sae_id,
        "split_mode": config.split_mode,
        "group_key_fields": config.group_key_fields,
        "test_fraction": config.test_fraction,
        "seed": config.seed,
        "sae_projection_dim": config.sae_projection_dim,
        "sae_ridge_l2": l2,
        "embedding_model": config.embedding_model,
        "text_encoder": config.text_encoder,
        "max_rows": config.max_rows,
    }
