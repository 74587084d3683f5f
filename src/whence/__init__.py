"""Whence: where a language model's behaviour comes from.

Three instruments on one spine: training examples (`whence.data`), attention heads and layers
(`whence.heads`), sentences of a model's own reasoning (`whence.anchors`).
"""

__version__ = "0.1.0"
