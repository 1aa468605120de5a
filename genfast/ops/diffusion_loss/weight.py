"""Weights of the denoising loss."""

from __future__ import annotations

from torch import Tensor

from genfast.ops import _check
from genfast.ops.diffusion_loss.reference import TARGETS

WEIGHTS = ("min_snr", "p2")


def loss_weight(
    alpha: Tensor, sigma: Tensor, kind: str, *, target: str = "epsilon", gamma: float | None = None, k: float = 1.0
) -> Tensor:
    """Per-sample weights of the denoising loss, from the signal-to-noise ratio ``snr = alpha^2 / sigma^2``.

    As a weight w of ``||x0_hat - x_0||^2``:

    * ``"min_snr"``: ``w = min(snr, gamma)``, gamma 5 by default (Hang et al. 2023, eq. 9);
    * ``"p2"``: ``w = snr / (k + snr)^gamma``, gamma 1 by default (Choi et al. 2022, eq. 8).

    A loss on another target is the x0 loss times a factor of t, which is divided out: epsilon
    ``w / snr``; v and flow ``w * sigma^2``.

    Args:
        alpha, sigma: ``[B]``, as :func:`genfast.add_noise` takes them.
        kind: ``"min_snr"`` or ``"p2"``.
        target: what the model predicts, as in :func:`genfast.diffusion_loss`.
        gamma, k: the constants of the formulas.

    Returns:
        ``[B]``, in the dtype of ``alpha``.

    Raises:
        TypeError, ValueError: for levels that are no floating point tensors; for an unknown choice.
    """
    _check.choice("loss_weight", "kind", kind, WEIGHTS)
    _check.choice("loss_weight", "target", target, TARGETS)
    _check.floating("loss_weight", "alpha", alpha)
    _check.floating("loss_weight", "sigma", sigma)
    signal, noise = alpha.square(), sigma.square()
    snr = signal / noise
    # Written so that clean images (snr infinite) and zero terminal SNR give the limits.
    if kind == "min_snr":
        limit = 5.0 if gamma is None else gamma
        if target == "epsilon":
            return (limit / snr).clamp(max=1.0)
        weight = snr.clamp(max=limit)
        return weight if target == "x0" else weight * noise
    power = 1.0 if gamma is None else gamma
    if target == "x0":
        return signal / (k * noise + signal) * (k + snr) ** (1.0 - power)
    weight = (k + snr) ** -power
    return weight if target == "epsilon" else weight * signal
