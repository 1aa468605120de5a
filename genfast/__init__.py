"""genfast: fast kernels, samplers and thin models for image generation in PyTorch."""

from __future__ import annotations

import importlib
from typing import Any

import torch as _torch  # noqa: F401  (its OpenMP runtime must be loaded before the native library)

from genfast._version import __version__
from genfast.backend import backend, backends
from genfast.numerics import numerics, set_numerics
from genfast.ops import (
    GanLoss,
    GaussianKL,
    StepOutput,
    add_noise,
    attention,
    bias_act,
    conv2d_act,
    conv_transpose2d_act,
    diffusion_loss,
    forget_packed,
    gan_loss,
    gaussian_kl,
    gradient_penalty,
    group_norm_act,
    linear_act,
    loss_weight,
    normal_noise,
    reconstruction_loss,
    sampler_step,
    uniform_noise,
)
from genfast.random import Stream

_LAZY = {"Sampler": "genfast.samplers", "Schedule": "genfast.schedules"}
_LAZY_MODULES = ("bench", "data", "integrations", "metrics", "models", "nn", "samplers", "schedules", "training")

__all__ = [
    "GanLoss",
    "GaussianKL",
    "Sampler",
    "Schedule",
    "StepOutput",
    "Stream",
    "__version__",
    "add_noise",
    "attention",
    "backend",
    "backends",
    "bias_act",
    "conv2d_act",
    "conv_transpose2d_act",
    "diffusion_loss",
    "forget_packed",
    "gan_loss",
    "gaussian_kl",
    "gradient_penalty",
    "group_norm_act",
    "linear_act",
    "loss_weight",
    "normal_noise",
    "numerics",
    "reconstruction_loss",
    "sampler_step",
    "set_numerics",
    "uniform_noise",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _LAZY_MODULES:
        return importlib.import_module(f"genfast.{name}")
    raise AttributeError(f"module 'genfast' has no attribute {name!r}")
