"""Attention in plain PyTorch: the truth that every kernel is held against, the fallback, and the backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genfast.registry import is_differentiated


def positions_first(out: Tensor) -> Tensor:
    """``[B, heads, L, D]``, in memory ``[B, L, heads, D]``."""
    rows = out.transpose(1, 2).contiguous()
    # By way of one dimension, for the strides of dimensions of size 1.
    return rows.view(-1).view(rows.shape).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """``softmax(scale q k^T) v`` (Vaswani et al. 2017, equation 1)."""
    if is_differentiated():
        # PyTorch's own has neither a forward-mode nor, on every device, a second derivative.
        wide_q, wide_k, wide_v = (t if t.dtype == torch.float64 else t.float() for t in (q, k, v))
        out = torch.softmax(scale * (wide_q @ wide_k.mT), dim=-1) @ wide_v
        return positions_first(out.to(q.dtype))
    return positions_first(F.scaled_dot_product_attention(q, k, v, scale=scale))


def gradients(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float, needs: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients by q, k and v, of those that are asked for. Made of differentiable operations."""
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    wide_grad, wide_q, wide_k, wide_v = (t.to(dtype) for t in (grad, q, k, v))
    p = torch.softmax(scale * (wide_q @ wide_k.mT), dim=-1)  # [B, heads, L, M]
    grad_v = (p.mT @ wide_grad).to(v.dtype) if needs[2] else None
    if not (needs[0] or needs[1]):
        return None, None, grad_v
    grad_p = wide_grad @ wide_v.mT
    grad_s = scale * p * (grad_p - (grad_p * p).sum(-1, keepdim=True))
    grad_q = (grad_s @ wide_k).to(q.dtype) if needs[0] else None
    grad_k = (grad_s.mT @ wide_q).to(k.dtype) if needs[1] else None
    return grad_q, grad_k, grad_v
