"""Training diffusion models, and sampling what was trained."""

from __future__ import annotations

from genfast.training import recipes
from genfast.training.base import TrainingDiverged
from genfast.training.checkpoint import Checkpoint
from genfast.training.classifier import Recognition, recognition, train_classifier
from genfast.training.config import TrainingConfig
from genfast.training.ema import EMA
from genfast.training.grid import image_grid, save_grid
from genfast.training.recipes import Recipe
from genfast.training.run import train_diffusion
from genfast.training.run_checkpoint import load_checkpoint, save_checkpoint
from genfast.training.runner import TrainingInterrupted
from genfast.training.sampling import sample_images
from genfast.training.trainer import StepResult, Trainer

__all__ = [
    "EMA",
    "Checkpoint",
    "Recipe",
    "Recognition",
    "StepResult",
    "Trainer",
    "TrainingConfig",
    "TrainingDiverged",
    "TrainingInterrupted",
    "image_grid",
    "load_checkpoint",
    "recipes",
    "recognition",
    "sample_images",
    "save_checkpoint",
    "save_grid",
    "train_classifier",
    "train_diffusion",
]
