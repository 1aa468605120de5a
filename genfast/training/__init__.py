"""Training diffusion models, GANs and VAEs, and sampling what was trained."""

from __future__ import annotations

from genfast.training import recipes
from genfast.training.checkpoint import Checkpoint
from genfast.training.classifier import Recognition, recognition, train_classifier
from genfast.training.config import TrainingConfig
from genfast.training.ema import EMA
from genfast.training.gan_config import GANTrainingConfig
from genfast.training.gan_trainer import GANCheckpoint, GANStep, GANTrainer
from genfast.training.grid import image_grid, save_gif, save_grid
from genfast.training.latent_run import train_gan, train_vae
from genfast.training.recipes import LatentRecipe, Recipe
from genfast.training.run import train_diffusion
from genfast.training.run_checkpoint import RunCheckpoint, load_checkpoint, save_checkpoint
from genfast.training.runner import TrainingInterrupted
from genfast.training.sampling import sample_images, sample_latents
from genfast.training.trainer import StepResult, Trainer
from genfast.training.updates import TrainingDiverged
from genfast.training.vae_config import VAETrainingConfig
from genfast.training.vae_trainer import VAECheckpoint, VAEStep, VAETrainer

__all__ = [
    "EMA",
    "Checkpoint",
    "GANCheckpoint",
    "GANStep",
    "GANTrainer",
    "GANTrainingConfig",
    "LatentRecipe",
    "Recipe",
    "Recognition",
    "RunCheckpoint",
    "StepResult",
    "Trainer",
    "TrainingConfig",
    "TrainingDiverged",
    "TrainingInterrupted",
    "VAECheckpoint",
    "VAEStep",
    "VAETrainer",
    "VAETrainingConfig",
    "image_grid",
    "load_checkpoint",
    "recipes",
    "recognition",
    "sample_images",
    "sample_latents",
    "save_checkpoint",
    "save_gif",
    "save_grid",
    "train_classifier",
    "train_diffusion",
    "train_gan",
    "train_vae",
]
