"""Probe corpora: rows of two prompts that differ in one thing, their splits, and their faults."""

from whence.heads.corpora.content import content_hash
from whence.heads.corpora.rows import Fields, Row, line_numbers, read_corpus
from whence.heads.corpora.splits import Split, draw_split, read_split
from whence.heads.corpora.where import find_corpus, split_beside

__all__ = [
    "Fields",
    "Row",
    "Split",
    "content_hash",
    "draw_split",
    "find_corpus",
    "line_numbers",
    "read_corpus",
    "read_split",
    "split_beside",
]
