"""Drop-in layers: torch.nn's own, with what follows them in the same kernel."""

from __future__ import annotations

from genfast.nn._layer import FusedLayer, FusedModule, plain_pytorch, set_fused
from genfast.nn.bias_act import BiasAct
from genfast.nn.conv import ConvAct2d, ConvTransposeAct2d
from genfast.nn.dropout import Dropout
from genfast.nn.fold import fold_batch_norm_
from genfast.nn.linear import LinearAct
from genfast.nn.norm import BatchNormAct2d, GroupNormAct, InstanceNormAct2d, fold_batch_norm
from genfast.nn.replace import Replacement, accelerate

__all__ = [
    "BatchNormAct2d",
    "BiasAct",
    "ConvAct2d",
    "ConvTransposeAct2d",
    "Dropout",
    "FusedLayer",
    "FusedModule",
    "GroupNormAct",
    "InstanceNormAct2d",
    "LinearAct",
    "Replacement",
    "accelerate",
    "fold_batch_norm",
    "fold_batch_norm_",
    "plain_pytorch",
    "set_fused",
]
