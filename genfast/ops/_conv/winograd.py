"""Convolutions by Winograd's minimal filtering, on the CPU: 3x3 of stride 1, and transposed 4x4 of stride 2
(csrc/ops/conv2d_act/winograd.h)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from genfast.backend import native
from genfast.numerics import current as current_numerics
from genfast.ops._check import DTYPE_CODES
from genfast.ops._conv.problem import Candidate, Epilogue, Problem, Run

# From here on the error of F(4 x 4) is not above that of the vendor library in channels_last, which adds all products
# of an output in long chains, whose error grows with the channels; we add in chunks. At 64 channels it is 1.1 to 1.4
# times the library's. In contiguous images the library also adds in chunks: there it is 2.2 to 2.5 times as large.
FEWEST_EXACT_CHANNELS = 192


class Winograd(Candidate):
    """F(tile x tile, 3 x 3): ``(tile + 2)^2`` multiplications give ``tile^2`` outputs instead of ``9 tile^2``.

    Also computes transposed convolutions of stride 1, such as the data gradient: their weight is packed flipped.
    Transforms and sums are float32 for every dtype. As in every fast convolution, sums of transformed inputs stand in
    for sums of products: an infinity or a NaN in x spoils all of the tiles that read it.

    Args:
        tile: 2 or 4.
    """

    strided = False

    def __init__(self, tile: int) -> None:
        self.tile, self.exact = tile, tile == 2
        self.name = f"winograd_{tile}x{tile}"

    def is_exact(self, problem: Problem) -> bool:
        return self.exact or problem.x[1] >= FEWEST_EXACT_CHANNELS

    def supports(self, problem: Problem) -> bool:
        p = problem
        return (
            native is not None
            and p.device == "cpu"
            and p.dtype in DTYPE_CODES
            and p.dilation == (1, 1)
            and p.groups == 1
            and p.x[1] > 0
            and self._fits(p)
        )

    def _fits(self, p: Problem) -> bool:
        return p.weight[2:] == (3, 3) and p.stride == (1, 1) and p.output_padding == (0, 0) and max(p.padding) <= 2

    def speed(self, problem: Problem) -> float:
        return 0.8 * 9 * self.tile**2 / (self.tile + 2) ** 2 * self._filled(problem, problem.out[2:])

    def _filled(self, problem: Problem, sizes: Sequence[float]) -> float:
        """The share of tiles, over ``sizes`` pixels, and of vectors of channels that is used."""
        filled = min(1.0, problem.x[1] / 32) * min(1.0, problem.out[1] / 32)
        for size in sizes:
            filled *= size / (max(1, -(-size // self.tile)) * self.tile)
        return filled

    def pack_key(self, problem: Problem) -> Hashable:
        return self.tile, problem.transposed

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        return pack(weight, self.tile, transpose=problem.transposed)

    def bind(self, problem: Problem, epilogue: Epilogue) -> Run:
        p, e = problem, epilogue
        sizes = list(p.sizes)
        if p.transposed and not self.strided:
            sizes[11:13] = (2 - p.padding[0], 2 - p.padding[1])
        shape, dtype, layout, last, code = p.out, p.dtype, p.memory_format, p.channels_last, DTYPE_CODES[p.dtype]
        kernel, empty = native.winograd, torch.empty
        rest = (e.act, e.param, e.gain, e.clamp, self.tile, self.strided)
        direct, plan = native.winograd_direct, native.winograd_plan(code, last, sizes, *rest)

        def bound(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
            out = empty(shape, dtype=dtype, memory_format=layout)
            if not direct(plan, x, weight, out, bias, residual):
                kernel(
                    x.data_ptr(), weight.data_ptr(), out.data_ptr(), code, last, sizes,
                    0 if bias is None else bias.data_ptr(), 0 if residual is None else residual.data_ptr(), *rest,
                )  # fmt: skip
            return out

        return bound


class WinogradStrided(Winograd):
    """The transposed 4x4 convolution of generators, stride 2, in channels_last: the 2x2 pixels of its output are four
    3x3 convolutions with zeros in their kernels, which leave ``(tile + 1)^2`` multiplications for ``tile^2`` outputs
    instead of ``4 tile^2``."""

    strided = True

    def __init__(self, tile: int) -> None:
        super().__init__(tile)
        self.name = f"winograd_strided_{tile}x{tile}"

    def is_exact(self, problem: Problem) -> bool:
        return self.exact

    def _fits(self, p: Problem) -> bool:
        square = p.weight[2:] == (4, 4) and p.stride == (2, 2) and p.padding == (1, 1)
        return square and p.transposed and p.channels_last

    def speed(self, problem: Problem) -> float:
        saved = 4 * self.tile**2 / (self.tile + 1) ** 2
        return 0.8 * saved * self._filled(problem, [size / 2 for size in problem.out[2:]])

    def pack(self, problem: Problem, weight: Tensor) -> Tensor:
        return pack(weight.transpose(0, 1), self.tile, strided=True)


def pack(weight: Tensor, tile: int, *, transpose: bool = False, strided: bool = False) -> Tensor:
    """The weight ``[O, I, 3, 3]``, of any strides, transformed: float32 ``(tile + 2)^2 * I * O``, O rounded up to 16.

    Args:
        transpose: pack ``weight.transpose(0, 1).flip(2, 3)`` instead, the weight of the data gradient.
        strided: the weight is ``[O, I, 4, 4]``, of a transposed convolution; it becomes ``4 (tile + 1)^2 * I * O``.
    """
    address, stride = weight.data_ptr(), weight.stride()
    out_channels, in_channels = weight.shape[:2]
    if transpose:
        # The last tap is the first, and strides lead backwards: no copy is made.
        address += weight.element_size() * 2 * (stride[2] + stride[3])
        stride = (stride[1], stride[0], -stride[2], -stride[3])
        out_channels, in_channels = in_channels, out_channels
    products = 4 * (tile + 1) ** 2 if strided else (tile + 2) ** 2
    packed = torch.empty(products * in_channels * native.winograd_packed_channels(out_channels))
    native.winograd_weight(
        address, DTYPE_CODES[weight.dtype], out_channels, in_channels, stride, tile, strided, packed.data_ptr(),
        packed.nbytes,
    )  # fmt: skip
    return packed


_FEWEST_GRADIENT_TILES = 64


def takes_weight_gradient(
    grad: Tensor, x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    groups: int,
) -> bool:  # fmt: skip
    """Whether :func:`weight_gradient` computes it, and faster than the vendor library: channels and tiles are many."""
    out_channels, in_channels, *kernel = weight.shape
    tiles = grad.shape[0] * -(-grad.shape[2] // 4) * -(-grad.shape[3] // 4)
    return (
        native is not None
        and x.device.type == "cpu"
        and current_numerics() == "fast"
        and grad.dtype == x.dtype == weight.dtype == torch.float32
        and kernel == [3, 3]
        and all(n == 1 for n in (*stride, *dilation, groups))
        and max(padding) <= 2
        and min(out_channels, in_channels) >= 32
        and tiles >= _FEWEST_GRADIENT_TILES
        and x.is_contiguous(memory_format=torch.channels_last)
        and grad.is_contiguous(memory_format=torch.channels_last)
    )


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int]) -> Tensor:
    """The gradient of a convolution by its weight, in the layout of ``weight``; ``grad`` is that of the output."""
    found = torch.empty_like(weight)
    sizes = (*x.shape, *grad.shape[1:], 3, 3, 1, 1, *padding, 1, 1, 1)
    native.winograd_weight_gradient(x.data_ptr(), grad.data_ptr(), found.data_ptr(), sizes, found.stride())
    return found


CANDIDATES: list[Candidate] = [Winograd(4), Winograd(2), WinogradStrided(4), WinogradStrided(2)]
