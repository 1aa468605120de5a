"""The reconstruction loss of autoencoders."""

from __future__ import annotations

from torch import Tensor

from genfast.ops import _check
from genfast.ops.reconstruction_loss import reference
from genfast.ops.reconstruction_loss.reference import KINDS, REDUCTIONS

__all__ = ["reconstruction_loss"]


def reconstruction_loss(
    prediction: Tensor,
    target: Tensor,
    kind: str = "mse",
    *,
    weight: float | Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """How far a reconstruction is from its original, with its gradient in the same pass.

    ``loss_b = w_b * sum_i l(p_bi, t_bi)``, where ``l(p, t)`` is

    * ``"mse"``: ``(p - t)^2``, a Gaussian likelihood of fixed variance;
    * ``"l1"``: ``|p - t|``, a Laplacian one; its gradient where ``p = t`` is 0;
    * ``"bce_logits"``: ``max(p, 0) - p * t + log(1 + exp(-|p|))``, a Bernoulli one of the logits p (Kingma and Welling
      2014, appendix C.1), finite for every finite p.

    Computed in float32; sums are taken in a fixed order. The gradient is a new tensor.

    Args:
        prediction: p ``[B, ...]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        target: t, of the shape of ``prediction``, any of these dtypes.
        kind: which loss.
        weight: the weights w, a number or one per sample; 1 by default.
        reduction: ``"mean"`` over all elements, ``"batchmean"``: the mean over the batch, which the negative ELBO
            wants, ``"sum"``, or ``"none"``: one loss per sample, ``[B]``.

    Returns:
        The loss: float32 (float64 for a float64 ``prediction``), a scalar or ``[B]``. Differentiable by
        ``prediction`` and ``target``, any number of times; ``weight`` is a constant.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices.
    """
    op = "reconstruction_loss"
    _check.floating(op, "prediction", prediction)
    _check.batched(op, "prediction", prediction)
    _check.like(op, "target", target, prediction, "prediction")
    _check.choice(op, "kind", kind, KINDS)
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    if weight is not None:
        weight = _check.per_sample(op, "weight", weight, prediction, "prediction").detach()
    return reference.reconstruction_loss(prediction, target, weight, kind, reduction)
