"""`whence heads ov-compare A.json B.json`: do heads of other models or corpora write alike?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from whence.errors import BadInput
from whence.heads.ov.overlap import PERSISTENCE, rank_biased_overlap
from whence.heads.ov.report import FILE, WAYS, check_file
from whence.runs.config import OutputConfig
from whence.runs.finding import Finding
from whence.runs.jsonfile import read_json, write_json
from whence.runs.store import open_run

if TYPE_CHECKING:
    from torch import Tensor

OUTPUT = "ov_compare.json"
ENDS = ("top", "bottom")
SHOWN = 12

Match = Literal["text", "word"]


class OvCompareConfig(OutputConfig):
    """Compare every head of each report with every head of the others."""

    output_dir: Path | None = Field(  # type: ignore[assignment]
        default=None, description="Folder to write; without one the comparison is printed only."
    )
    files: tuple[Path, ...] = Field(
        min_length=2, description="Reports of `whence heads ov` (ov.json, or its folder)."
    )
    p: float = Field(
        default=PERSISTENCE,
        gt=0,
        lt=1,
        description="Persistence of rank-biased overlap: the weight of deeper ranks.",
    )
    limit: int | None = Field(
        default=None, ge=1, description="Tokens of each list to compare; default: all there are."
    )
    match: Match = Field(
        default="text",
        description="text: tokens are the same where their text is, spaces and case too. word: "
        "without spaces around them and case, for tokenizers that differ.",
    )


@dataclass(frozen=True)
class OvCompareResult:
    """pairs: as in `ov_compare.json`, most alike first. folder: None where nothing was written."""

    folder: Path | None
    found: Mapping[str, Any]
    done_before: bool

    @property
    def pairs(self) -> Sequence[Mapping[str, Any]]:
        pairs: Sequence[Mapping[str, Any]] = self.found["pairs"]
        return pairs

    def finding(self) -> Finding:
        """The pairs that are most alike."""
        rows = []
        for pair in self.pairs[:SHOWN]:
            top, bottom = (pair["normed"][end] for end in ENDS)
            cosine = pair["cosine"]["normed"]
            rows.append(
                (
                    f"{pair['a']['name']} {pair['a']['head']}",
                    f"{pair['b']['name']} {pair['b']['head']}",
                    f"{top['rbo']:.3f}",
                    f"{bottom['rbo']:.3f}",
                    "" if cosine is None else f"{cosine:+.3f}",
                    f"{len(top['shared'])} of {top['depth']}",
                    " ".join(map(repr, top["shared"][:4])),
                )
            )
        count = len(self.pairs)
        said = f"{rows[0][0]} and {rows[0][1]}" if rows else "none"
        return Finding(
            headline=f"Compared {count} pair{'s' if count != 1 else ''} of heads; most alike: "
            f"{said}.",
            columns=(
                "head",
                "with",
                "overlap raised",
                "overlap lowered",
                "cosine",
                "shared",
                "tokens both raise",
            ),
            rows=rows,
            files={} if self.folder is None else {"pairs": self.folder / OUTPUT},
        )


def ov_compare(config: OvCompareConfig) -> OvCompareResult:
    """Shared tokens, rank-biased overlap and cosines of pairs of heads, in `ov_compare.json`.

    Nothing is written without an output folder. Raises BadInput for files that `whence heads ov`
    did not write.
    """
    files = [_file(path) for path in config.files]
    if config.output_dir is None:
        found = compare(read_reports(files), config.p, config.limit, config.match)
        return OvCompareResult(None, found, done_before=False)
    with open_run(
        config.output_dir,
        command="heads ov-compare",
        config=config,
        inputs={"reports": files, "vectors": [_vectors(file) for file in files]},
        overwrite=config.overwrite,
    ) as run:
        if not run.done:
            reports = read_reports(files)
            write_json(run.folder / OUTPUT, compare(reports, config.p, config.limit, config.match))
    return OvCompareResult(config.output_dir, read_json(config.output_dir / OUTPUT), run.done)


@dataclass(frozen=True)
class Report:
    """One ov.json with the vectors beside it. name: what tables call it."""

    name: str
    path: Path
    found: Mapping[str, Any]
    vectors: Mapping[str, Tensor]

    def tokens(self, head: str, way: str, end: str, limit: int | None, match: Match) -> list[str]:
        """One list of tokens, the most extreme first, none twice."""
        texts = [entry["token"] for entry in self.found["heads"][head][way][end]]
        if match == "word":
            texts = [text.strip().casefold() or text for text in texts]
        return list(dict.fromkeys(texts))[:limit]


def read_reports(paths: Sequence[Path]) -> list[Report]:
    """Reports, called by the folders that they lie in, or by their paths where those are alike.

    Raises BadInput for a file that is none, and where its vectors are not beside it.
    """
    from safetensors.torch import load_file

    files = [_file(path) for path in paths]
    folders = [file.absolute().parent.name for file in files]
    names = folders if len(set(folders)) == len(folders) else [str(file) for file in files]
    reports = []
    for name, file in zip(names, files, strict=True):
        reports.append(Report(name, file, check_file(file), load_file(_vectors(file))))
    return reports


def compare(reports: Sequence[Report], p: float, limit: int | None, match: Match) -> dict[str, Any]:
    """Every head of each report with every head of those after it, and where tokens recur.

    overlap and shared are of the token lists; `cosine.output` is of the mean OV outputs in the
    residual stream, where both have one width and mean the same only in the same model or one
    trained on from it; `cosine.direct` and `cosine.normed` are of the logits, each with its mean
    over the vocabulary taken away (a constant added to all logits changes no probability), where
    the vocabularies are the same. null: cannot be compared.
    """
    pairs = [
        _pair(a, head_a, b, head_b, p, limit, match)
        for a, b in combinations(reports, 2)
        for head_a, head_b in product(a.found["heads"], b.found["heads"])
    ]
    pairs.sort(key=lambda pair: -sum(pair["normed"][end]["rbo"] for end in ENDS))
    return {
        "reports": [
            {
                "path": str(report.path),
                "name": report.name,
                "model": report.found["model"]["name"],
                "corpus": report.found["corpus"]["path"],
                "heads": list(report.found["heads"]),
            }
            for report in reports
        ],
        "p": p,
        "match": match,
        "pairs": pairs,
        "recurring": _recurring(reports, limit, match),
    }


def _pair(
    a: Report, head_a: str, b: Report, head_b: str, p: float, limit: int | None, match: Match
) -> dict[str, Any]:
    pair: dict[str, Any] = {
        "a": {"name": a.name, "head": head_a},
        "b": {"name": b.name, "head": head_b},
    }
    for way in WAYS:
        pair[way] = {}
        for end in ENDS:
            one = a.tokens(head_a, way, end, limit, match)
            other = b.tokens(head_b, way, end, limit, match)
            pair[way][end] = {
                "rbo": rank_biased_overlap(one, other, p),
                "depth": min(len(one), len(other)),
                "shared": [token for token in one if token in set(other)],
            }
    pair["same_model"] = all(
        a.found["model"][key] == b.found["model"][key] for key in ("name", "revision")
    )
    pair["cosine"] = {
        "output": _cosine(a, head_a, b, head_b, "output", 0)
        if a.found["model"]["d_model"] == b.found["model"]["d_model"]
        else None,
        **dict(_of_logits(a, head_a, b, head_b)),
    }
    return pair


def _of_logits(a: Report, head_a: str, b: Report, head_b: str) -> Iterator[tuple[str, Any]]:
    same = a.found["vocabulary"]["sha256"] == b.found["vocabulary"]["sha256"]
    for way in WAYS:
        size = a.found["vocabulary"]["size"]
        yield way, _cosine(a, head_a, b, head_b, way, size) if same else None


def _cosine(
    a: Report, head_a: str, b: Report, head_b: str, what: str, centred_over: int
) -> float | None:
    """Cosine of two vectors, or of the first entries of both with their means taken away."""
    one, other = (
        report.vectors[f"{head}.{what}"].double() for report, head in ((a, head_a), (b, head_b))
    )
    if centred_over:
        one, other = one[:centred_over], other[:centred_over]
        one, other = one - one.mean(), other - other.mean()
    lengths = float(one.norm() * other.norm())
    return float(one @ other) / lengths if lengths else None


def _recurring(reports: Sequence[Report], limit: int | None, match: Match) -> dict[str, Any]:
    """Tokens that stand in the lists (through the final norm) of two heads or more, by how many."""
    found: dict[str, Any] = {}
    for end in ENDS:
        where: dict[str, list[str]] = defaultdict(list)
        for report in reports:
            for head in report.found["heads"]:
                for token in report.tokens(head, "normed", end, limit, match):
                    where[token].append(f"{report.name} {head}")
        common = {token: heads for token, heads in where.items() if len(heads) > 1}
        found[end] = [
            {"token": token, "heads": common[token]}
            for token in sorted(common, key=lambda token: (-len(common[token]), token))
        ]
    return found


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _vectors(file: Path) -> Path:
    """The vectors of a report. Raises BadInput where they are not beside it."""
    vectors = file.parent / str(check_file(file)["vectors"])
    if not vectors.is_file():
        raise BadInput(f"{file}: its vectors are not beside it: {vectors} was expected")
    return vectors
