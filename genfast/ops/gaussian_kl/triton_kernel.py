"""The Triton kernels of ``gaussian_kl``: sample and divergence in one pass."""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

from genfast.ops import _triton
from genfast.ops._activation_triton import _exp
from genfast.ops._loss_triton import finish_loss, float_bits, partial_sums, shares
from genfast.ops._triton import SIZES, draw, elements, load, store
from genfast.ops.gaussian_kl.arguments import Posterior


@triton.jit
def element_kl(mu, logvar, sigma):
    """The divergence of a dimension, without free bits."""
    return tl.fma(mu, mu, (sigma * sigma - 1.0) - logvar) * 0.5


@triton.jit(do_not_specialize=SIZES)
def gaussian_kl_kernel(
    mu, logvar, noise, seeds, z, partial,
    batch: tl.int64, groups: tl.int64, channels: tl.int64, quad_blocks: tl.int64, channel_blocks: tl.int64,
    mu_gap: tl.int64, logvar_gap: tl.int64, stream: tl.int64, scale_bits: tl.int32, bound_bits: tl.int32,
    SAMPLES: tl.constexpr, QUADS: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr, FREE: tl.constexpr,
):  # fmt: skip
    sample, offset, mask = elements(
        batch, groups, channels, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN
    )  # fmt: skip
    if noise is not None:
        eps = load(noise, offset, mask)
    else:
        eps = draw(seeds, stream, batch, groups, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS, ALIGN, True)
    m = load(mu, offset + sample * (mu_gap * ALIGN), mask)
    v = load(logvar, offset + sample * (logvar_gap * ALIGN), mask)
    sigma = _exp(v * 0.5)
    store(z, offset, tl.fma(sigma, eps, m), mask)
    kl = element_kl(m, v, sigma)
    if FREE:
        bound = bound_bits.to(tl.float32, bitcast=True)
        kl = tl.where(kl < bound, bound, kl)
    share, row, at = shares(kl, mask, batch, quad_blocks, channel_blocks, SAMPLES, QUADS, CHANNELS)
    tl.store(partial + at, share * scale_bits.to(tl.float32, bitcast=True).to(tl.float64), mask=row < batch)


def posterior_plan(p: Posterior, draws: bool) -> tuple[Posterior, _triton.Plan, tuple[int, int]]:
    """The plan of a posterior, and how many groups of elements lie between the ends and starts of its samples."""
    plan = _triton.plan(p.mu, p.channels if draws else 0)
    align = plan.constants["ALIGN"]
    numel = p.mu.numel() // max(p.mu.shape[0], 1)
    if any(pitch % align for pitch in p.pitches):
        p = p._replace(mu=p.mu.contiguous(), logvar=p.logvar.contiguous(), pitches=(numel, numel))
    return p, plan, ((p.pitches[0] - numel) // align, (p.pitches[1] - numel) // align)


def launch(
    p: Posterior, z: Tensor, kl: Tensor, seeds: Tensor | None, stream: int, beta: float, free_bits: float,
    reduction: str,
) -> None:  # fmt: skip
    """Write the sample and its reduced divergence."""
    batch = p.mu.shape[0]
    if z.numel() == 0:
        kl.fill_(math.nan if batch == 0 and reduction == "mean" else 0.0)
        return
    p, plan, gaps = posterior_plan(p, p.noise is None)
    partial = partial_sums(z, plan)
    arguments = (
        p.mu, p.logvar, p.noise, seeds, z, partial, *plan.sizes, *gaps, stream, float_bits(beta), float_bits(free_bits),
    )  # fmt: skip
    _triton.launch(gaussian_kl_kernel, plan.programs, plan.warps, arguments, plan.constants | {"FREE": free_bits > 0})
    finish_loss(partial, kl, batch if reduction == "mean" else 1)
