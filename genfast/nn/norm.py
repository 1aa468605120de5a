"""Norms with their activation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genfast.nn._layer import FusedLayer
from genfast.ops import _activation
from genfast.ops.group_norm_act import group_norm_act, normalise


class GroupNormAct(FusedLayer, nn.GroupNorm):
    """``act(GroupNorm(x) * (1 + scale) + shift)``, in one op: :func:`genfast.group_norm_act`.

    An ``nn.GroupNorm``: the same arguments, parameters, initialisation and ``state_dict``. A checkpoint of
    ``nn.Sequential(nn.GroupNorm(...), nn.SiLU())`` loads as it is.

    Args:
        num_groups, num_channels, eps, affine, device, dtype: those of ``nn.GroupNorm``.
        act, act_param: those of :func:`genfast.group_norm_act`; ``act="linear"`` is none.

    Raises ValueError for an unknown activation.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, *, act: str = "silu", act_param: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(num_groups, num_channels, eps, affine, device, dtype)
        self._finish_with(act, act_param, 1.0, None)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """``x`` ``[N, C, ...]`` -> the same shape; ``scale`` and ``shift`` ``[N, C]`` or ``[N, C, 1, ...]``."""
        if self.fused:
            return group_norm_act(
                x, self.num_groups, self.weight, self.bias, self.eps, self.act, scale, shift, act_param=self.act_param
            )
        y = super().forward(x)
        trailing = (1,) * (x.dim() - 2)
        if scale is not None:
            y = y * (1 + scale.reshape(*scale.shape[:2], *trailing))
        if shift is not None:
            y = y + shift.reshape(*shift.shape[:2], *trailing)
        return self._plain_epilogue(y, None)


class _NormAct(FusedLayer):
    """What batch and instance normalisation share: the op, with statistics of the input or the running ones."""

    weight: Any
    bias: Any
    running_mean: Tensor | None
    running_var: Tensor | None
    eps: float

    def _normalise(self, x: Tensor, joint: bool, given: bool) -> tuple[Tensor, Tensor, Tensor]:
        mean = var = None
        if given:
            assert self.running_mean is not None and self.running_var is not None
            wide = torch.float64 if x.dtype == torch.float64 else torch.float32
            mean, var = (s.to(wide)[None] for s in (self.running_mean, self.running_var))
        code = _activation.code(type(self).__name__, self.act)
        return normalise(
            x, self.weight, self.bias, None, None, mean, var, x.shape[1], self.eps, code, self.act_param, joint
        )  # fmt: skip

    def _track(self, mean: Tensor, var: Tensor, count: int, factor: float) -> None:
        """Move the running statistics towards ``mean`` and the biased ``var``, ``[1 or N, C]``."""
        assert self.running_mean is not None and self.running_var is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean.mean(0).to(self.running_mean.dtype), factor)
            unbiased = var.mean(0) * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), factor)

    def _takes(self, x: Tensor) -> bool:
        """Whether the op knows the parameters' dtypes beside that of ``x``."""
        return all(p is None or p.dtype in (torch.float32, x.dtype) for p in (self.weight, self.bias))


class BatchNormAct2d(_NormAct, nn.BatchNorm2d):
    """``act(BatchNorm2d(x))`` in one op.

    An ``nn.BatchNorm2d``: the same arguments, parameters, running statistics, initialisation and ``state_dict``. A
    checkpoint of ``nn.Sequential(nn.BatchNorm2d(...), nn.ReLU())`` loads as it is.

    Args:
        num_features, eps, momentum, affine, track_running_stats, device, dtype: those of ``nn.BatchNorm2d``.
        act, act_param: those of :func:`genfast.group_norm_act`; ``act="linear"`` is none.

    Raises ValueError for an unknown activation, and what ``nn.BatchNorm2d`` raises.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, act: str = "relu",
        act_param: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self._finish_with(act, act_param, 1.0, None)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[N, C, H, W]`` -> the same shape."""
        own = self.running_mean is None or self.training
        # With running statistics the gradient is PyTorch's: it is that of one multiplication.
        wanted = torch.is_grad_enabled() and any(p is not None and p.requires_grad for p in (x, self.weight, self.bias))
        if not self.fused or not self._takes(x) or (wanted and not own):
            return self._plain_epilogue(super().forward(x), None)
        self._check_input_dim(x)
        if x.shape[1] != self.num_features:
            raise ValueError(f"BatchNormAct2d: x must have {self.num_features} channels, got shape {list(x.shape)}")
        if not own:
            return self._normalise(x, joint=True, given=True)[0]
        count = x.numel() // x.shape[1] if x.shape[1] else 0
        if count <= 1:
            raise ValueError(f"BatchNormAct2d: expected more than one value per channel, got shape {list(x.shape)}")
        if wanted and x.device.type == "cpu":
            # There PyTorch's is faster, forward and backward together.
            return self._plain_epilogue(super().forward(x), None)
        y, mean, var = self._normalise(x, joint=True, given=False)
        if self.training and self.track_running_stats:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self._track(mean, var, count, factor)
        return y


class InstanceNormAct2d(_NormAct, nn.InstanceNorm2d):
    """``act(InstanceNorm2d(x))`` in one op: a group norm with a group for each channel.

    An ``nn.InstanceNorm2d``: the same arguments, parameters, running statistics, initialisation and ``state_dict``.

    Args:
        num_features, eps, momentum, affine, track_running_stats, device, dtype: those of ``nn.InstanceNorm2d``.
        act, act_param: those of :func:`genfast.group_norm_act`; ``act="linear"`` is none.

    Raises ValueError for an unknown activation, and what ``nn.InstanceNorm2d`` raises.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, act: str = "relu",
        act_param: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self._finish_with(act, act_param, 1.0, None)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[N, C, H, W]`` or ``[C, H, W]`` -> the same shape."""
        # Checks, and images without a batch, are the parent's, which then calls _apply_instance_norm.
        return super().forward(x)

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        own = self.training or not self.track_running_stats
        wanted = torch.is_grad_enabled() and input.requires_grad
        if not self.fused or not self._takes(input) or (wanted and not own):
            return self._plain_epilogue(super()._apply_instance_norm(input), None)
        if not own:
            return self._normalise(input, joint=True, given=True)[0]
        count = input.shape[2:].numel()
        if count <= 1:
            raise ValueError(f"InstanceNormAct2d: expected more than one pixel, got shape {list(input.shape)}")
        y, mean, var = self._normalise(input, joint=False, given=False)
        if self.training and self.track_running_stats and len(input):
            self._track(mean, var, count, 0.0 if self.momentum is None else self.momentum)
        return y


_Conv = nn.modules.conv._ConvNd
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BatchNorm = nn.modules.batchnorm._BatchNorm


def fold_batch_norm(conv: nn.Module, bn: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that computes ``bn(conv(x))`` in evaluation mode.

    With ``f = bn.weight / sqrt(running_var + eps)`` per output channel: ``weight * f`` and
    ``(bias - running_mean) * f + bn.bias``, in float64, rounded to the dtype of the convolution's weight.

    Args:
        conv: a convolution or transposed convolution of torch.nn or genfast.nn, of any dimensions and groups, with no
            activation behind it; or an ``nn.Linear``. It is not changed.
        bn: the batch norm behind it. The activation of a :class:`BatchNormAct2d` is left to the caller.

    Raises TypeError for other layers; ValueError for a batch norm without running statistics or of another number of
    channels, and for a convolution with an activation.
    """
    if not isinstance(conv, (_Conv, nn.Linear)):
        raise TypeError(f"fold_batch_norm: conv must be a convolution or linear layer, got {type(conv).__name__}")
    if not isinstance(bn, _BatchNorm):
        raise TypeError(f"fold_batch_norm: bn must be a batch norm, got {type(bn).__name__}")
    if isinstance(conv, FusedLayer) and (conv.act != "linear" or conv.gain != 1 or conv.clamp is not None):
        raise ValueError(f"fold_batch_norm: conv must have no activation, gain or clamp, got {conv}")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("fold_batch_norm: bn must have running statistics")
    channels = conv.out_features if isinstance(conv, nn.Linear) else conv.out_channels
    if bn.num_features != channels:
        raise ValueError(f"fold_batch_norm: bn must have the {channels} channels of conv, got {bn.num_features}")
    factor = torch.rsqrt(bn.running_var.double() + bn.eps)
    if bn.weight is not None:
        factor = factor * bn.weight.double()
    weight = conv.weight.double()
    if isinstance(conv, _TRANSPOSED):
        # [in, out / groups, ...]: the inputs of a group meet the outputs of that group.
        grouped = weight.unflatten(0, (conv.groups, -1))
        over = factor.reshape(conv.groups, 1, -1, *(1,) * (weight.dim() - 2))
        weight = (grouped * over).flatten(0, 1)
    else:
        weight = weight * factor.reshape(-1, *(1,) * (weight.dim() - 1))
    bias = -bn.running_mean.double() if conv.bias is None else conv.bias.double() - bn.running_mean.double()
    bias = bias * factor
    if bn.bias is not None:
        bias = bias + bn.bias.double()
    return weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)
