"""A linear layer with its activation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfast.nn._layer import FusedLayer
from genfast.ops.linear_act import linear_act
from genfast.ops.linear_act.training import is_small


class LinearAct(FusedLayer, nn.Linear):
    """``clamp(act(x @ weight.T + bias + residual) * gain)``, in one op: :func:`genfast.linear_act`.

    An ``nn.Linear``: the same arguments, parameters, initialisation and ``state_dict``. A checkpoint of
    ``nn.Sequential(nn.Linear(...), nn.SiLU())`` loads as it is.

    Args:
        in_features, out_features, bias, device, dtype: those of ``nn.Linear``.
        act, act_param, gain, clamp: those of :func:`genfast.linear_act`; ``act="linear"`` is none.

    Raises ValueError for an unknown activation and a negative clamp.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None, *,
        act: str = "silu", act_param: float | None = None, gain: float = 1.0, clamp: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, bias, device, dtype)
        self._finish_with(act, act_param, gain, clamp)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """``x`` ``[..., I]`` -> ``[..., O]``; ``residual`` ``[..., O]`` is added before the activation."""
        weight, bias = self.weight, self.bias
        small = torch.is_grad_enabled() and is_small(x, self.out_features)
        if small or not self.fused:
            return self._plain_epilogue(F.linear(x, weight, bias), residual)
        return linear_act(
            x, weight, bias, act=self.act, act_param=self.act_param, residual=residual, gain=self.gain, clamp=self.clamp
        )
