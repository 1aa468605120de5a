"""Drop-in layers: torch.nn's own, with what follows them in the same kernel."""

from __future__ import annotations

from genfast.nn._layer import FusedLayer, FusedModule, set_fused
from genfast.nn._standin_norm import GroupNormAct
from genfast.nn.bias_act import BiasAct
from genfast.nn.conv import ConvAct2d, ConvTransposeAct2d
from genfast.nn.linear import LinearAct
from genfast.nn.replace import Replacement, accelerate

__all__ = [
    "BiasAct",
    "ConvAct2d",
    "ConvTransposeAct2d",
    "FusedLayer",
    "FusedModule",
    "GroupNormAct",
    "LinearAct",
    "Replacement",
    "accelerate",
    "set_fused",
]
