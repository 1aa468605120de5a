"""Networks for inference: with their batch norms folded into their convolutions, and never of old weights."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from genfast.backend import native
from genfast.nn import FusedModule, fold_batch_norm_, set_fused

_MODAL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
_folded: WeakKeyDictionary[nn.Module, tuple[Any, nn.Module]] = WeakKeyDictionary()


def folded(network: nn.Module) -> nn.Module:
    """``network`` in evaluation mode with its batch norms folded: a copy that is kept while the weights stay.

    All bytes of the weights are read to see whether they changed, for not every change moves PyTorch's counters.
    Weights that cannot be read, as those on a GPU, are folded anew at each call. A network without batch norms or
    dropout is returned as it is.
    """
    if not any(isinstance(m, _MODAL) for m in network.modules()):
        return network
    state = _state(network)
    found = _folded.get(network)
    if found is None or state is None or found[0] != state:
        made = copy.deepcopy(network).eval().requires_grad_(False)
        fold_batch_norm_(made)
        found = state, made
        if state is not None:
            _folded[network] = found
    if isinstance(network, FusedModule):
        set_fused(found[1], network._fused)
    return found[1]


def _state(network: nn.Module) -> tuple[Any, ...] | None:
    """What changes whenever a weight or running statistic does; None where that cannot be told."""
    checksum = getattr(native, "checksum", None)
    tensors = list(chain(network.parameters(), network.buffers()))
    if checksum is None or not all(t.is_cpu and _is_dense(t) for t in tensors):
        return None
    return tuple((t.dtype, t.shape, t.stride(), checksum(t.data_ptr(), t.nbytes, 1, 0)) for t in tensors)


def _is_dense(t: Tensor) -> bool:
    return t.is_contiguous() or t.is_contiguous(memory_format=torch.channels_last)
