"""Features in the texts that they are active in: a section a feature, tokens shaded by strength."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from whence.report.page import Section, render

QUARTERS = ("up to a quarter", "up to a half", "up to three quarters", "up to the highest")
SHOWN_TOKENS = 160
"""Tokens of a long row that are shown, around its strongest."""
CUT = "…"


def features_masthead(title: str, lead: str, sections: Sequence[Section]) -> Markup:
    """Title, one sentence, what the colours stand for, and links to the features."""
    return render("sae_masthead.html", title=title, lead=lead, sections=sections, swatches=QUARTERS)


def feature_section(feature: Mapping[str, Any]) -> Section:
    """One feature, as `localize.json` has it, with `tokens` (dicts of `piece, turn, role,
    strength`) in each of its examples.
    """
    highest = max((row["strongest"] for row in feature["examples"]), default=0.0)
    name = f"{feature['sae_id']}, feature {feature['feature']}"
    told = {
        "read at": feature["hook_name"],
        "active in": f"{feature['rows_present']:,} of {feature['rows']:,} rows",
    }
    if contrast := feature.get("contrast"):
        told["in attributed rows"] = (
            f"{contrast['top_rate']:.0%} of the top rows, {contrast['rest_rate']:.0%} of the rest; "
            f"odds ratio {contrast['odds_ratio']:.3g}, q = {contrast['q']:.2g}"
        )
    return Section(
        name,
        "Rows in which it is strongest, with the tokens that it is active at.",
        render(
            "sae_feature.html",
            name=name,
            told=told,
            link=feature["link"],
            roles=feature["roles"],
            sampled=feature["rows_sampled"],
            pieces=[{**each, "shown": visible(each["piece"])} for each in feature["pieces"]],
            examples=[
                {**row, "turns": _turns(_window(row["tokens"]), highest)}
                for row in feature["examples"]
            ],
        ),
    )


def visible(piece: str) -> str:
    """A token with its blanks to be seen: a space as ␣, a line break as ↵."""
    return piece.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")


def _window(tokens: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most `SHOWN_TOKENS` tokens around the strongest, and marks where text is left out."""
    if len(tokens) <= SHOWN_TOKENS:
        return list(tokens)
    at = max(range(len(tokens)), key=lambda i: tokens[i]["strength"])
    start = min(max(0, at - SHOWN_TOKENS // 2), len(tokens) - SHOWN_TOKENS)
    shown = list(tokens[start : start + SHOWN_TOKENS])
    if start > 0:
        shown.insert(0, {**shown[0], "piece": CUT, "strength": 0.0})
    if start + SHOWN_TOKENS < len(tokens):
        shown.append({**shown[-1], "piece": CUT, "strength": 0.0})
    return shown


def _turns(tokens: Sequence[Mapping[str, Any]], highest: float) -> list[dict[str, Any]]:
    """Tokens by turn; special tokens that are not active show nothing."""
    turns = []
    for (_, role), group in groupby(tokens, key=lambda token: (token["turn"], token["role"])):
        shown = [
            {
                "piece": token["piece"] or ("⟨special⟩" if token["role"] == "special" else ""),
                "strength": token["strength"],
                "shade": _shade(token["strength"], highest),
            }
            for token in group
            if token["piece"] or token["strength"] > 0
        ]
        if shown:
            turns.append({"role": role, "tokens": shown})
    return turns


def _shade(strength: float, highest: float) -> str:
    if strength <= 0 or highest <= 0:
        return ""
    return f"p{min(4, max(1, math.ceil(4 * strength / highest)))}"
