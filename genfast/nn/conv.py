"""Convolutions with their activation."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from genfast.nn._layer import FusedLayer
from genfast.ops import conv2d_act, conv_transpose2d_act
from genfast.ops._check import memory_format

_Size = int | tuple[int, int]
_PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class ConvAct2d(FusedLayer, nn.Conv2d):
    """``clamp(act(conv2d(x) + bias + residual) * gain)``, in one op: :func:`genfast.conv2d_act`.

    An ``nn.Conv2d``: the same arguments, parameters, initialisation and ``state_dict``. A checkpoint of
    ``nn.Sequential(nn.Conv2d(...), nn.SiLU())`` loads as it is. The weight is read at every forward, so that
    parametrizations, optimizers and weights merged in place take effect.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            those of ``nn.Conv2d``; padding may be ``"same"`` or ``"valid"``, padding_mode ``"zeros"``, ``"reflect"``,
            ``"replicate"`` or ``"circular"``.
        act, act_param, gain, clamp: those of :func:`genfast.conv2d_act`; ``act="linear"`` is none.

    Raises ValueError for an unknown activation and a negative clamp, and what ``nn.Conv2d`` raises.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: _Size, stride: _Size = 1, padding: _Size | str = 0,
        dilation: _Size = 1, groups: int = 1, bias: bool = True, padding_mode: _PaddingMode = "zeros",
        device: Any = None, dtype: Any = None, *, act: str = "silu", act_param: float | None = None, gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip
        self._finish_with(act, act_param, gain, clamp)

    def forward(self, x: Tensor, residual: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """``x`` ``[N, C, H, W]`` or ``[C, H, W]`` -> ``[N, O, H', W']`` or ``[O, H', W']``.

        Args:
            x: the images.
            residual: of the output's shape, added before the activation.
            shift: ``[O]``, added to the bias, as a time embedding that all samples share.
        """
        bias = self.bias
        if shift is not None:
            bias = shift if bias is None else bias + shift
        if not self.fused:
            return self._plain_epilogue(self._conv_forward(x, self.weight, bias), residual)
        if x.dim() == 3:
            return self.forward(x[None], None if residual is None else residual[None], shift).squeeze(0)
        padding: Any = self.padding
        if self.padding_mode != "zeros" or isinstance(padding, str):
            x, padding = self._pad(x)
        return conv2d_act(
            x, self.weight, bias, stride=self.stride, padding=padding, dilation=self.dilation, groups=self.groups,
            residual=residual, **self._epilogue,
        )  # fmt: skip

    def _pad(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """``x`` with the padding that is not zeros on both sides alike, and the padding that is left."""
        left, right, top, bottom = self._reversed_padding_repeated_twice
        if self.padding_mode == "zeros" and left == right and top == bottom:
            return x, (top, left)
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        padded = F.pad(x, (left, right, top, bottom), mode=mode)
        return padded.contiguous(memory_format=memory_format(x)), (0, 0)


class ConvTransposeAct2d(FusedLayer, nn.ConvTranspose2d):
    """``clamp(act(conv_transpose2d(x) + bias + residual) * gain)``, in one op: :func:`genfast.conv_transpose2d_act`.

    An ``nn.ConvTranspose2d``, as :class:`ConvAct2d` is an ``nn.Conv2d``.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, padding_mode,
            device, dtype: those of ``nn.ConvTranspose2d``.
        act, act_param, gain, clamp: those of :func:`genfast.conv_transpose2d_act`; ``act="linear"`` is none.

    Raises ValueError for an unknown activation and a negative clamp, and what ``nn.ConvTranspose2d`` raises.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: _Size, stride: _Size = 1, padding: _Size = 0,
        output_padding: _Size = 0, groups: int = 1, bias: bool = True, dilation: _Size = 1,
        padding_mode: _PaddingMode = "zeros", device: Any = None, dtype: Any = None, *, act: str = "silu",
        act_param: float | None = None, gain: float = 1.0, clamp: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation,
            padding_mode, device, dtype,
        )  # fmt: skip
        self._finish_with(act, act_param, gain, clamp)

    def forward(self, x: Tensor, output_size: Any = None, *, residual: Tensor | None = None) -> Tensor:
        """``x`` ``[N, C, H, W]`` or ``[C, H, W]`` -> ``[N, O, H', W']`` or ``[O, H', W']``.

        Args:
            x: the images.
            output_size: height and width of the output, where the stride leaves a choice.
            residual: of the output's shape, added before the activation.
        """
        if not self.fused:
            return self._plain_epilogue(super().forward(x, output_size), residual)
        if x.dim() == 3:
            rest = None if residual is None else residual.unsqueeze(0)
            return self.forward(x[None], output_size, residual=rest).squeeze(0)
        padding: Any = self.padding
        output_padding: Any = self.output_padding
        if output_size is not None:
            output_padding = self._output_padding(
                x, output_size, self.stride, self.padding, self.kernel_size, 2, self.dilation  # type: ignore[arg-type]
            )  # fmt: skip
        return conv_transpose2d_act(
            x, self.weight, self.bias, stride=self.stride, padding=padding, output_padding=output_padding,
            dilation=self.dilation, groups=self.groups, residual=residual, **self._epilogue,
        )  # fmt: skip
