"""Whole experiments: a ranking, arms × seeds, and a verdict."""

from whence.data.experiment.outcome import ExperimentResult
from whence.data.experiment.run import experiment
from whence.data.experiment.settings import ExperimentConfig, PlantedSettings

__all__ = ["ExperimentConfig", "ExperimentResult", "PlantedSettings", "experiment"]
