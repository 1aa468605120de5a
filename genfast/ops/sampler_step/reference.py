"""One step of any diffusion sampler in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from genfast.ops import _exact
from genfast.ops._check import memory_format
from genfast.ops.sampler_step.coefficients import Coefficient
from genfast.random import Stream

INPAINT_OFFSET = Stream.INPAINT - Stream.STEP


def select_rows(x: Tensor, coefficients: Tensor, step: Tensor, dtype: torch.dtype) -> dict[Coefficient, Tensor]:
    """The coefficients of this step, each ``[B or 1, 1, ...]`` to broadcast over ``x``."""
    row = coefficients.index_select(0, step.reshape(1)).squeeze(0).to(dtype)
    row = row.reshape(-1, row.shape[-1])
    return {c: row[:, c].reshape(-1, *[1] * (x.dim() - 1)) for c in Coefficient}


def per_sample(value: Tensor, x: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype).reshape(-1, *[1] * (x.dim() - 1))


def flat(x: Tensor) -> Tensor:
    """``x`` as ``[B, elements]``, also where it is ``[B]`` or empty."""
    return x.reshape(x.shape[0], x[0].numel() if x.shape[0] else 0)


def predict_x0(
    x: Tensor, model_output: Tensor, c: dict[Coefficient, Tensor], uncond: Tensor | None,
    model_scale: Tensor | None, threshold: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The guided model output m and the prediction x0, in the dtype of the arguments."""
    m = model_output
    if uncond is not None:
        m = _exact.fma(c[Coefficient.GUIDANCE], m - uncond, uncond)
    if model_scale is not None:
        m = m * per_sample(model_scale, x, m.dtype)
    x0 = _exact.fma(c[Coefficient.A_M], m, c[Coefficient.A_X] * x)
    bound = c[Coefficient.CLAMP]
    x0 = torch.where(x0 > bound, bound, torch.where(x0 < -bound, -bound, x0))
    if threshold is not None:
        limit = per_sample(threshold, x, x0.dtype)
        x0 = torch.where(x0 > limit, limit, torch.where(x0 < -limit, -limit, x0)) / limit
    return m, x0


def add_drawn(value: Tensor, scale: Tensor, z: Tensor) -> Tensor:
    """``value + scale * z``, where a scale of 0 draws nothing."""
    return torch.where(scale != 0, _exact.fma(scale, z.to(value.dtype), value), value)


def sampler_step(
    x: Tensor, model_output: Tensor, coefficients: Tensor, step: Tensor, uncond: Tensor | None,
    history: list[Tensor], noise: Tensor | None, seeds: Tensor | None, stream: int,
    model_scale: Tensor | None, threshold: Tensor | None, known: Tensor | None, mask: Tensor | None,
    return_history: bool, model_input_dtype: torch.dtype | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """See :func:`genfast.sampler_step`. Float64 inputs are computed in float64, all others in float32."""
    compute = torch.float64 if x.dtype == torch.float64 else torch.float32
    c = select_rows(x, coefficients, step, compute)
    state = x.to(compute)
    m, x0 = predict_x0(
        state, model_output.to(compute), c, None if uncond is None else uncond.to(compute), model_scale, threshold
    )
    result = _exact.fma(c[Coefficient.B_0], x0, c[Coefficient.B_X] * state)
    result = _exact.fma(c[Coefficient.B_M], m, result)
    for k, entry in enumerate(history):
        result = _exact.fma(c[Coefficient(Coefficient.H_0 + k)], entry.to(compute), result)
    if noise is not None:
        result = add_drawn(result, c[Coefficient.S], noise)
    elif seeds is not None:
        result = add_drawn(result, c[Coefficient.S], _exact.normal_like(x, seeds, step + stream))
    if known is not None and mask is not None:
        target = c[Coefficient.K_0] * known.to(compute)
        if seeds is not None:
            drawn = _exact.normal_like(x, seeds, step + stream + INPAINT_OFFSET)
            target = add_drawn(target, c[Coefficient.K_S], drawn)
        result = _exact.fma(mask.to(compute).expand_as(result), result - target, target)
    entry = x.new_empty(0)
    if return_history:
        entry = _exact.fma(c[Coefficient.E_0], x0, c[Coefficient.E_X] * state).to(x.dtype)
    model_input = x.new_empty(0)
    if model_input_dtype is not None:
        model_input = (c[Coefficient.C_IN] * result).to(model_input_dtype)
    layout = memory_format(x)
    return (
        result.to(x.dtype).contiguous(memory_format=layout),
        entry.contiguous(memory_format=layout) if return_history else entry,
        model_input.contiguous(memory_format=layout) if model_input_dtype is not None else model_input,
    )
