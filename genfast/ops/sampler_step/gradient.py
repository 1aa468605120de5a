"""The gradient of a step, made of differentiable operations, so that second derivatives come by themselves."""

from __future__ import annotations

import torch

from genfast.ops.sampler_step import reference
from genfast.ops.sampler_step.coefficients import Coefficient


def setup_context(ctx, inputs, output):
    (x, model_output, coefficients, step, uncond, history, noise, _, _, model_scale, threshold, _, mask,
     return_history, model_input_dtype) = inputs  # fmt: skip
    ctx.save_for_backward(x, model_output, coefficients, step, uncond, model_scale, threshold, mask)
    ctx.history_length = len(history)
    ctx.noise_dtype = None if noise is None else noise.dtype
    ctx.return_history, ctx.model_input_dtype = return_history, model_input_dtype


def backward(ctx, grad_x, grad_entry, grad_input):
    C = Coefficient
    x, model_output, coefficients, step, uncond, model_scale, threshold, mask = ctx.saved_tensors
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    c = reference.select_rows(x, coefficients, step, dtype)
    state, output = x.to(dtype), model_output.to(dtype)
    conditional = None if uncond is None else uncond.to(dtype)
    g = grad_x.to(dtype)
    if ctx.model_input_dtype is not None:
        g = g + c[C.C_IN] * grad_input.to(dtype)
    if mask is not None:
        g = g * mask.to(dtype)
    scale = 1.0 if model_scale is None else reference.per_sample(model_scale, x, dtype)
    m = (output if conditional is None else conditional + c[C.GUIDANCE] * (output - conditional)) * scale
    unclamped = c[C.A_X] * state + c[C.A_M] * m
    inside = (unclamped.abs() <= c[C.CLAMP]).to(dtype)
    if threshold is not None:
        limit = reference.per_sample(threshold, x, dtype)
        inside = inside * (unclamped.abs() <= limit).to(dtype) / limit
    h = grad_entry.to(dtype) if ctx.return_history else None
    grad_x0 = c[C.B_0] * g if h is None else c[C.B_0] * g + c[C.E_0] * h
    grad_x0 = grad_x0 * inside
    grad_m = (c[C.B_M] * g + c[C.A_M] * grad_x0) * scale
    grad_state = c[C.B_X] * g + c[C.A_X] * grad_x0
    if h is not None:
        grad_state = grad_state + c[C.E_X] * h
    grad_cond, grad_uncond = grad_m, None
    if conditional is not None:
        grad_cond = c[C.GUIDANCE] * grad_m
        grad_uncond = (grad_m - grad_cond).to(uncond.dtype)
    grad_history = [(c[C(C.H_0 + k)] * g).to(x.dtype) for k in range(ctx.history_length)]
    grad_noise = None if ctx.noise_dtype is None else (c[C.S] * g).to(ctx.noise_dtype)
    return (grad_state.to(x.dtype), grad_cond.to(model_output.dtype), None, None, grad_uncond, grad_history, grad_noise,
            *[None] * 8)  # fmt: skip
