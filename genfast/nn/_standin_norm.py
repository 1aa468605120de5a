"""GroupNorm with its activation, until the op is there."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from genfast.nn._layer import FusedLayer
from genfast.nn._standin import group_norm_act


class GroupNormAct(FusedLayer, nn.GroupNorm):
    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, *, act: str = "silu",
    ) -> None:  # fmt: skip
        super().__init__(num_groups, num_channels, eps, affine, device, dtype)
        self._finish_with(act, None, 1.0, None)

    def forward(self, x: Tensor) -> Tensor:
        if not self.fused:
            return self._plain_epilogue(F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps), None)
        return group_norm_act(x, self.num_groups, self.weight, self.bias, self.eps, self.act)
