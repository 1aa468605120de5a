"""Batch norms folded into the convolutions before them, in a whole model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils import parametrize

from genfast.nn._layer import FusedLayer
from genfast.nn.bias_act import BiasAct
from genfast.nn.norm import _BatchNorm, _Conv, fold_batch_norm


def fold_batch_norm_(model: nn.Module, pairs: Iterable[tuple[str, str]] | None = None) -> list[tuple[str, str]]:
    """Fold the batch norms of ``model`` into the layers before them, in place, for inference.

    The convolution takes the weight and bias of :func:`fold_batch_norm`. In the batch norm's place comes an
    ``nn.Identity``, or for a :class:`genfast.nn.BatchNormAct2d` its activation, unless the convolution is of genfast.nn
    and can take it.

    Args:
        model: in evaluation mode.
        pairs: the places of convolution and batch norm, as ``model.get_submodule`` takes them. None finds those that
            follow one another in an ``nn.Sequential``, and leaves layers alone that are used more than once or whose
            weight is parametrized.

    Returns:
        the pairs that were folded.

    Raises TypeError and ValueError as :func:`fold_batch_norm`, and ValueError in training mode.
    """
    chosen = list(_neighbours(model) if pairs is None else pairs)
    for conv_name, bn_name in chosen:
        conv, bn = model.get_submodule(conv_name), model.get_submodule(bn_name)
        if bn.training:
            raise ValueError(f"fold_batch_norm_: {bn_name} must be in evaluation mode: call model.eval()")
        with torch.no_grad():
            weight, bias = fold_batch_norm(conv, bn)
            trained = next(conv.parameters()).requires_grad
            conv.weight, conv.bias = nn.Parameter(weight, trained), nn.Parameter(bias, trained)
        after: nn.Module = nn.Identity()
        if isinstance(bn, FusedLayer) and isinstance(conv, FusedLayer):
            conv.act, conv.act_param = bn.act, bn.act_param
        elif isinstance(bn, FusedLayer) and bn.act != "linear":
            after = BiasAct(bn.num_features, bias=False, act=bn.act, alpha=bn.act_param, gain=1.0)  # type: ignore[arg-type]
            after.fused = bn.fused
        parent, _, child = bn_name.rpartition(".")
        setattr(model.get_submodule(parent), child, after.eval())
    return chosen


def _neighbours(model: nn.Module) -> Iterator[tuple[str, str]]:
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    for name, sequence in model.named_modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        children = list(sequence.named_children())
        for (first, conv), (second, bn) in pairwise(children):
            if not isinstance(conv, (_Conv, nn.Linear)) or not isinstance(bn, _BatchNorm) or bn.running_mean is None:
                continue
            plain = not isinstance(conv, FusedLayer) or (conv.act == "linear" and conv.gain == 1 and conv.clamp is None)
            if plain and uses[id(conv)] == uses[id(bn)] == 1 and not parametrize.is_parametrized(conv):
                prefix = f"{name}." if name else ""
                yield prefix + first, prefix + second
