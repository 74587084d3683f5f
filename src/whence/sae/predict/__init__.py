"""Attribution predicted from SAE features: fitted once, applied to pools without gradients."""

from whence.sae.predict.command import PredictResult, predict
from whence.sae.predict.settings import PredictConfig

__all__ = ["PredictConfig", "PredictResult", "predict"]
