"""Read the chosen rows, and write what is found: `localize.json`, three tables, a page.

tokens.parquet   sae_id, feature, row_id, token, piece, turn, role, strength     rows shown
spans.parquet    sae_id, feature, row_id, start, stop, turn, role, text, strongest, mean
turns.parquet    sae_id, feature, row_id, sampled, turn, role, tokens, active, mean_strength
                 of every row that was read; `sampled` marks the fair sample
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whence.errors import BadInput
from whence.models.alignment import align
from whence.runs.jsonfile import write_json
from whence.runs.progress import Progress
from whence.runs.tables import write_parquet
from whence.sae.localize.chosen_rows import ChosenRows, choose_rows
from whence.sae.localize.opened import Opened, load_extracted_saes, moved_folders
from whence.sae.localize.places import Place, aligned_places, joined_places
from whence.sae.localize.spans import role_shares, spans_of, strongest_pieces
from whence.sae.localize.strengths import strengths
from whence.sae.localize.wanted import (
    Wanted,
    check_in_range,
    contrasted_features,
    named_features,
)
from whence.sae.rows import TokenRow, token_rows
from whence.sae.store import Extraction, Layer
from whence.text.joined import JOINT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from whence.sae.localize.command import LocalizeConfig

NEURONPEDIA = "https://www.neuronpedia.org"


@dataclass(frozen=True)
class Read:
    """One row: where its tokens are, and a feature's strength at each, 0 where not counted."""

    place: int
    places: Sequence[Place]
    strengths: NDArray[np.float32]


def write_localized(
    config: LocalizeConfig, extraction: Extraction, opened: Opened, folder: Path
) -> None:
    """Fill `folder`. Raises BadInput as `whence.sae.localize.localize` says."""
    import pandas as pd
    import pyarrow as pa

    layers = {sae_id: extraction.layer(sae_id) for sae_id in extraction.files}
    if config.contrast is None:
        wanted = named_features(config.features, extraction)
    else:
        wanted = contrasted_features(config.contrast, extraction, config.top, config.direction)
    check_in_range(wanted, {sae_id: layer.d_sae for sae_id, layer in layers.items()})
    chosen = [
        choose_rows(
            layers[each.sae_id],
            each,
            examples=config.top_examples,
            sample=config.sample_rows,
            seed=config.seed,
        )
        for each in wanted
    ]
    read = _read(config, extraction, layers, opened, wanted, chosen)
    features, tokens, spans, turns = [], [], [], []
    for each, rows in zip(wanted, chosen, strict=True):
        own = read[each]
        shown = sorted(own, key=lambda row: (-row.strengths.max(initial=0), row.place))
        shown = shown[: config.top_examples]
        table = _turns(own, rows, extraction, opened.threshold)
        features.append(_described(each, layers[each.sae_id], rows, own, shown, table, extraction))
        key = {"sae_id": each.sae_id, "feature": each.feature}
        turns.append(table.assign(**key))
        tokens += [{**key, **token} for row in shown for token in _tokens(row, extraction)]
        spans += [
            {**key, "row_id": extraction.row_ids[row.place], **asdict(span)}
            for row in own
            for span in spans_of(row.strengths, row.places, opened.threshold)
        ]
    write_json(folder / "localize.json", {"features": features})
    front = ["sae_id", "feature", "row_id"]
    every = pd.concat(turns)
    every = every[[*front, *(name for name in every.columns if name not in front)]]
    for name, frame in (
        ("tokens", pd.DataFrame(tokens)),
        ("spans", pd.DataFrame(spans)),
        ("turns", every),
    ):
        write_parquet(pa.Table.from_pandas(frame, preserve_index=False), folder / f"{name}.parquet")
    _page(folder, features, tokens, extraction)


def _read(
    config: LocalizeConfig,
    extraction: Extraction,
    layers: Mapping[str, Layer],
    opened: Opened,
    wanted: Sequence[Wanted],
    chosen: Sequence[ChosenRows],
) -> dict[Wanted, list[Read]]:
    from whence.models.anatomy import find_anatomy

    for column in ("prompt", "completion"):
        if column not in extraction.examples.columns:
            raise BadInput(
                f"{extraction.folder / 'examples.jsonl'}: no {column} in its rows; extract again"
            )
    loaded = opened.load()
    anatomy = find_anatomy(loaded.model)
    used = dict.fromkeys(each.sae_id for each in wanted)
    saes = load_extracted_saes(
        {sae_id: layers[sae_id].facts for sae_id in used},
        moved_folders(config.sae_path, extraction.files),
        loaded.device,
    )
    columns = {
        sae_id: [each.feature for each in wanted if each.sae_id == sae_id] for sae_id in used
    }
    needed = sorted({place for rows in chosen for place in rows.read})
    records = extraction.examples.iloc[needed].to_dict("records")
    rows = token_rows(records, loaded.tokenizer, opened.text, opened.max_tokens)  # type: ignore[arg-type]
    found: dict[Wanted, list[Read]] = {each: [] for each in wanted}
    reading = [set(each.read) for each in chosen]
    with Progress("localize", len(rows), "rows") as progress:
        for at, arrays in strengths(
            anatomy,
            [row.ids for row in rows],
            columns,
            saes,
            batch_tokens=config.batch_tokens,
        ):
            places = _places(records[at], rows[at], opened, loaded.tokenizer)
            for each, its in zip(wanted, reading, strict=True):
                if needed[at] not in its:
                    continue
                strength = arrays[each.sae_id][:, columns[each.sae_id].index(each.feature)]
                strength = np.where(strength > opened.threshold, strength, 0).astype(np.float32)
                if not opened.count_bos:
                    strength[: rows[at].bos] = 0
                found[each].append(Read(needed[at], places, strength))
            progress.advance()
    return {each: sorted(own, key=lambda row: row.place) for each, own in found.items()}


def _places(
    record: Mapping[str, Any], row: TokenRow, opened: Opened, tokenizer: PreTrainedTokenizerBase
) -> list[Place]:
    prompt, completion = record["prompt"], record["completion"]
    if opened.text == "aligned":
        aligned = align(prompt, completion, tokenizer, opened.max_tokens)
        return aligned_places(prompt, completion, aligned, tokenizer)
    text = f"{prompt}{JOINT}{completion}"
    return joined_places(text, prompt, len(row.ids), tokenizer)


def _turns(own: Sequence[Read], rows: ChosenRows, extraction: Extraction, threshold: float) -> Any:
    """A row per row read and turn; see `turns.parquet` above."""
    import pandas as pd

    sampled = set(rows.sampled)
    entries = []
    for row in own:
        of_turn: dict[tuple[int, str], list[float]] = defaultdict(list)
        for place, strength in zip(row.places, row.strengths, strict=True):
            of_turn[place.turn, place.role].append(float(strength))
        entries += [
            {
                "row_id": extraction.row_ids[row.place],
                "sampled": row.place in sampled,
                "turn": turn,
                "role": role,
                "tokens": len(values),
                "active": sum(value > threshold for value in values),
                "mean_strength": float(np.mean(values)),
            }
            for (turn, role), values in of_turn.items()
        ]
    return pd.DataFrame(entries)


def _described(
    wanted: Wanted,
    layer: Layer,
    rows: ChosenRows,
    own: Sequence[Read],
    shown: Sequence[Read],
    turns: Any,
    extraction: Extraction,
) -> dict[str, Any]:
    sampled = set(rows.sampled)
    at_pieces: dict[str, list[float]] = defaultdict(list)
    for row in own:
        if row.place in sampled:
            for place, strength in zip(row.places, row.strengths, strict=True):
                if place.piece:
                    at_pieces[place.piece].append(float(strength))
    fair = turns[turns["sampled"]].assign(
        strength=lambda table: table["mean_strength"] * table["tokens"]
    )
    known = layer.facts.get("neuronpedia_id")
    return {
        "sae_id": wanted.sae_id,
        "feature": wanted.feature,
        "hook_name": layer.facts.get("hook_name"),
        "link": f"{NEURONPEDIA}/{known}/{wanted.feature}" if known else None,
        "rows": len(extraction.row_ids),
        "rows_present": rows.present,
        "rows_sampled": len(rows.sampled),
        "contrast": dict(wanted.contrast) or None,
        "roles": role_shares(fair),
        "pieces": strongest_pieces(at_pieces),
        "examples": [
            {
                "row_id": extraction.row_ids[row.place],
                "strongest": float(row.strengths.max(initial=0)),
            }
            for row in shown
        ],
    }


def _tokens(row: Read, extraction: Extraction) -> list[dict[str, Any]]:
    return [
        {
            "row_id": extraction.row_ids[row.place],
            "token": at,
            "piece": place.piece,
            "turn": place.turn,
            "role": place.role,
            "strength": float(strength),
        }
        for at, (place, strength) in enumerate(zip(row.places, row.strengths, strict=True))
    ]


def _page(
    folder: Path,
    features: Sequence[Mapping[str, Any]],
    tokens: Sequence[Mapping[str, Any]],
    extraction: Extraction,
) -> None:
    from whence.report.page import render_page
    from whence.report.sae_features import feature_section, features_masthead

    of_row: dict[tuple[str, int, str], list[Mapping[str, Any]]] = defaultdict(list)
    for token in tokens:
        of_row[token["sae_id"], token["feature"], token["row_id"]].append(token)
    sections = [
        feature_section(
            {
                **each,
                "examples": [
                    {**row, "tokens": of_row[each["sae_id"], each["feature"], row["row_id"]]}
                    for row in each["examples"]
                ],
            }
        )
        for each in features
    ]
    title = f"Where {'a feature is' if len(features) == 1 else 'features are'} active"
    lead = (
        f"{len(features)} feature{'' if len(features) == 1 else 's'} of {extraction.folder.name}, "
        "in the rows where each is strongest and in a fair sample of those that have it."
    )
    masthead = features_masthead(title, lead, sections)
    render_page(title, sections, folder / "report.html", masthead=masthead)
