"""Which training rows would help: gradients of a pool's rows against those of queries (Bergson)."""

from whence.data.score.command import ScoreConfig, ScoreResult, score
from whence.data.score.rows import Scored, score_rows
from whence.data.score.settings import ScoreSettings

__all__ = ["ScoreConfig", "ScoreResult", "ScoreSettings", "Scored", "score", "score_rows"]
