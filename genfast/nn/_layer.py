"""What the fused layers share: their epilogue, the switch to plain PyTorch, and the keys of old checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfast.ops import _activation

_plain: ContextVar[bool] = ContextVar("genfast_plain_layers", default=False)


@contextmanager
def plain_pytorch(plain: bool = True) -> Iterator[None]:
    """Have all fused modules compute in plain PyTorch inside the ``with`` block, in this thread; not if ``plain`` is
    False."""
    token = _plain.set(plain or _plain.get())
    try:
        yield
    finally:
        _plain.reset(token)


class FusedModule(nn.Module):
    """A module with a twin in plain PyTorch, of the same parameters."""

    _fused: bool = True

    @property
    def fused(self) -> bool:
        """Whether the module computes with the ops of genfast, or with those of PyTorch.

        May be set; :func:`set_fused` does it for a whole model, :func:`plain_pytorch` for a while.
        """
        return self._fused and (torch.compiler.is_compiling() or not _plain.get())

    @fused.setter
    def fused(self, value: bool) -> None:
        self._fused = value


def set_fused(model: nn.Module, fused: bool = True) -> nn.Module:
    """Have every fused module of ``model`` compute with the ops of genfast, or with plain PyTorch.

    Parameters, buffers and ``state_dict`` stay as they are. Returns ``model``.
    """
    for module in model.modules():
        if isinstance(module, FusedModule):
            module.fused = fused
    return model


def unwrap_keys(state_dict: dict[str, Any], prefix: str) -> None:
    """Rename the keys of ``nn.Sequential(layer, activation)`` under ``prefix`` to those of the layer itself."""
    inner = f"{prefix}0."
    own = [key for key in state_dict if key.startswith(prefix)]
    if own and all(key.startswith(inner) for key in own):
        for key in own:
            state_dict[prefix + key.removeprefix(inner)] = state_dict.pop(key)


_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "silu": lambda x: F.silu(x, inplace=True),
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
}
"""What eager users write to save memory."""


class FusedLayer(FusedModule):
    """A layer of torch.nn with an epilogue, ``clamp(act(y + residual) * gain)``.

    A subclass names this class before the torch layer it extends, and ends its ``__init__`` with :meth:`_finish_with`.
    """

    act: str
    act_param: float
    gain: float
    clamp: float | None

    def _finish_with(self, act: str, act_param: float | None, gain: float, clamp: float | None) -> None:
        found = _activation.find(type(self).__name__, act)
        if clamp is not None and not clamp >= 0:
            raise ValueError(f"{type(self).__name__}: clamp must not be negative, got {clamp}")
        self.act, self.act_param = found.name, found.param if act_param is None else act_param
        self.gain, self.clamp = gain, clamp

    @property
    def _epilogue(self) -> dict[str, Any]:
        return {"act": self.act, "act_param": self.act_param, "gain": self.gain, "clamp": self.clamp}

    def _plain_epilogue(self, y: Tensor, residual: Tensor | None) -> Tensor:
        """The epilogue in plain PyTorch, on a tensor ``y`` that nobody else holds."""
        if residual is not None:
            y = y + residual
        if self.act in _IN_PLACE and not torch.is_grad_enabled():
            y = _IN_PLACE[self.act](y)
        else:
            y = _activation.find("", self.act).function(y, self.act_param)
        if self.gain != 1:
            y = y * self.gain
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)

    def extra_repr(self) -> str:
        parts = [super().extra_repr(), f"act={self.act}"]
        if self.act_param != _activation.find("", self.act).param:
            parts.append(f"act_param={self.act_param:g}")
        if self.gain != 1:
            parts.append(f"gain={self.gain:g}")
        if self.clamp is not None:
            parts.append(f"clamp={self.clamp:g}")
        return ", ".join(part for part in parts if part)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Mapping[str, Any], *rest: Any
    ) -> None:
        unwrap_keys(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)
