"""Bias and activation by themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genfast.nn._layer import FusedLayer
from genfast.ops import _activation, bias_act


class BiasAct(FusedLayer):
    """``clamp(act(x + bias, alpha) * gain)``, in one op: :func:`genfast.bias_act`, as StyleGAN's layers end.

    Args:
        channels: length of dimension ``dim``, which ``bias`` is along.
        bias: whether there is one; it starts at zero.
        device, dtype: of the bias.
        dim: the dimension of the bias.
        act, alpha, gain, clamp: those of :func:`genfast.bias_act`; None takes its defaults, among them a gain of
            sqrt(2) for most activations.

    Raises ValueError for an unknown activation and a negative clamp.
    """

    bias: nn.Parameter | None

    def __init__(
        self, channels: int, bias: bool = True, device: Any = None, dtype: Any = None, *, dim: int = 1,
        act: str = "linear", alpha: float | None = None, gain: float | None = None, clamp: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.channels, self.dim = channels, dim
        self.bias = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype)) if bias else None
        found = _activation.find("BiasAct", act)
        self._finish_with(
            act, found.alpha if alpha is None else alpha, found.gain if gain is None else gain, clamp
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """``x``, whose dimension ``dim`` has ``channels`` entries -> the same shape."""
        if not self.fused:
            if self.bias is None:
                return self._plain_epilogue(x.clone(), None)
            shape = [1] * x.dim()
            shape[self.dim] = -1
            return self._plain_epilogue(x + self.bias.view(shape), None)
        return bias_act(x, self.bias, self.dim, self.act, self.act_param, self.gain, self.clamp)

    def extra_repr(self) -> str:
        return f"{self.channels}, dim={self.dim}, bias={self.bias is not None}, {super().extra_repr()}"
