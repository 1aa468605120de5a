"""A linear layer with its activation."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from genfast.nn._layer import FusedLayer
from genfast.ops import linear_act

_SMALL = 1 << 19
"""Products of fewer multiplications take a few microseconds, and less in PyTorch."""


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
        if not self.fused or x.numel() * self.out_features < _SMALL:
            return self._plain_epilogue(F.linear(x, self.weight, self.bias), residual)
        return linear_act(x, self.weight, self.bias, residual=residual, **self._epilogue)
