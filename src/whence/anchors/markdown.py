"""Results of probes as Markdown: for a README, a pull request, or a reader without a browser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whence.anchors.defer.words import cautions
from whence.anchors.defer.words import headline as deferral_headline
from whence.report import notation

if TYPE_CHECKING:
    from whence.report.anchors_headline import Headline
    from whence.report.anchors_told import Told


def markdown(
    title: str,
    told: Told,
    answer: Headline,
    planned: Mapping[str, Any] | None,
    unplanned: str,
) -> str:
    """One evaluation: verdict, probes, comparisons, tripwires, deferral."""
    parts = [
        f"# {_text(title)}",
        f"**{_text(answer.sentence)}.** {_text(answer.of)}: {answer.number}, {answer.interval}.",
        f"On {told.on}.",
        _probes(told),
    ]
    if told.comparisons:
        parts += ["## Against the baselines", _bullets(c["sentence"] for c in told.comparisons)]
    wires = told.raw.get("tripwires") or {}
    said = [w["sentence"] for w in wires.values() if isinstance(w, Mapping) and w.get("sentence")]
    if said:
        parts += ["## Tripwires", _bullets(said)]
    reasons = told.raw.get("reasons") or {}
    if reasons:
        parts += ["## Missing", _bullets(f"{notation.words(k)}: {v}" for k, v in reasons.items())]
    if planned:
        lines = [f"{deferral_headline(planned)}.", *cautions(planned)]
        parts += ["## Deferral", _bullets(lines)]
    elif told.kind == "train":
        parts += ["## Deferral", _text(f"None: {unplanned}.")]
    return "\n\n".join(parts) + "\n"


def _probes(told: Told) -> str:
    rows = []
    for probe in told.ranked():
        cells = [f"{probe} (baseline)" if probe in told.baselines else probe]
        for name in told.metrics:
            level, metric = told.levels[probe].get(name), notation.metric(name)
            cell = metric.value(level.value if level else None)
            if level and level.interval:
                low, high = (metric.value(end) for end in level.interval)
                cell += f" [{low}, {high}]"
            cells.append(cell)
        rows.append(cells)
    for name, values in (("chance", told.chance), ("noise ceiling", told.ceiling)):
        if any(metric in values for metric in told.metrics):
            row = [notation.metric(each).value(values.get(each)) for each in told.metrics]
            rows.append([name, *row])
    return _table(["probe", *(notation.metric(name).label for name in told.metrics)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: object) -> str:
    """One line, and no markup of the text's own."""
    one_line = " ".join(str(text).split())
    return one_line.replace("<", "&lt;").replace(">", "&gt;")
