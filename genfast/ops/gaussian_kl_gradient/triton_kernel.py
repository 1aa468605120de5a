"""The Triton kernel of ``gaussian_kl_gradient``."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation_triton import _exp
from genfast.ops._loss_triton import float_bits
from genfast.ops._triton import SIZES, draw, elements, load, store
from genfast.ops.gaussian_kl.arguments import Posterior
from genfast.ops.gaussian_kl.triton_kernel import element_kl, posterior_plan


@triton.jit(do_not_specialize=SIZES)
def gaussian_kl_gradient_kernel(
    mu, logvar, noise, seeds, dz, dkl, dmu, dlogvar,
    batch: tl.int64, groups: tl.int64, channels: tl.int64, quad_blocks: tl.int64, channel_blocks: tl.int64,
    mu_gap: tl.int64, logvar_gap: tl.int64, stream: tl.int64, scale_bits: tl.int32, bound_bits: tl.int32,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr, FREE: tl.constexpr,
    PER_SAMPLE: tl.constexpr,
):  # fmt: skip
    sample, offset, mask = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    m = load(mu, offset + sample * (mu_gap * ALIGN), mask)
    v = load(logvar, offset + sample * (logvar_gap * ALIGN), mask)
    sigma = _exp(v * 0.5)
    if dz is not None:
        if noise is not None:
            eps = load(noise, offset, mask)
        else:
            eps = draw(seeds, stream, batch, groups, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN, True)
        by_mu = load(dz, offset, mask)
        by_logvar = by_mu * eps * sigma
    else:
        by_mu = tl.zeros_like(m)
        by_logvar = tl.zeros_like(m)
    if dkl is not None:
        arrived = tl.load(dkl + sample, mask=sample < batch) if PER_SAMPLE else tl.load(dkl)
        slope = arrived * scale_bits.to(tl.float32, bitcast=True) + tl.zeros_like(m)
        if FREE:
            slope = tl.where(element_kl(m, v, sigma) < bound_bits.to(tl.float32, bitcast=True), 0.0, slope)
        by_mu = tl.fma(slope, m, by_mu)
        by_logvar = tl.fma(slope, sigma * sigma - 1.0, by_logvar)
    store(dmu, offset, by_mu, mask)
    store(dlogvar, offset, by_logvar * 0.5, mask)


def launch(
    p: Posterior, dz: Tensor | None, dkl: Tensor | None, dmu: Tensor, dlogvar: Tensor, seeds: Tensor | None,
    stream: int, scale: float, free_bits: float, reduction: str,
) -> None:  # fmt: skip
    """Write the gradients. All tensors like ``mu`` have the layout of the posterior."""
    if dmu.numel() == 0:
        return
    draws = p.noise is None and dz is not None
    p, plan, gaps = posterior_plan(p, draws)
    noise, seeds = (p.noise, seeds) if dz is not None else (None, None)
    arguments = (
        p.mu, p.logvar, noise, seeds, dz, dkl, dmu, dlogvar, *plan.sizes, *gaps, stream, float_bits(scale),
        float_bits(free_bits),
    )  # fmt: skip
    constants = plan.constants | {"FREE": free_bits > 0, "PER_SAMPLE": reduction == "none"}
    _triton.launch(gaussian_kl_gradient_kernel, plan.programs, plan.warps, arguments, constants)
