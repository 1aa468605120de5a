"""Convolutions with what follows them, at the shapes of models that people run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import genfast
from genfast.bench.case import Case, Inputs
from genfast.bench.suites.layers import (
    ACTIVATIONS,
    IN_PLACE,
    ONEDNN_POST_OPS,
    PARAMS,
    Layer,
    layer_case,
    parameter,
    private_op,
    random_weight,
)
from genfast.numerics import MAX_ERROR

CONTIGUOUS, EXACT = "contiguous", "exact"
_FORMATS = (torch.contiguous_format, torch.channels_last)
_PAIR = tuple[int, int]
_KINKED, _NEAR = ("relu", "leaky_relu"), 1e-4


@dataclass(frozen=True)
class Conv:
    """A convolution and its activation: ``x`` ``[N, C, H, W]`` to ``out`` channels.

    ``option`` is ``contiguous`` (the layout of all tensors, else channels_last) or ``exact`` (genfast.numerics).
    """

    x: tuple[int, int, int, int]
    out: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    act: str = "silu"
    transposed: bool = False
    residual: bool = False
    option: str = ""

    @property
    def op(self) -> str:
        return "conv_transpose2d_act" if self.transposed else "conv2d_act"

    @property
    def variant(self) -> str:
        parts = [f"{self.kernel}x{self.kernel}", f"/{self.stride}" if self.stride > 1 else "", f"to {self.out}"]
        parts += [self.act if self.act != "linear" else "", "+ residual" if self.residual else "", self.option]
        return " ".join(part for part in parts if part)

    @property
    def size(self) -> int:
        """Height and width of the result."""
        if self.transposed:
            return (self.x[2] - 1) * self.stride - 2 * self.padding + self.kernel
        return (self.x[2] + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def flops(self) -> int:
        pixels = self.x[2] ** 2 if self.transposed else self.size**2
        return 2 * self.x[0] * pixels * self.x[1] * self.out * self.kernel**2

    @property
    def elements(self) -> int:
        """What must be read and written."""
        batch, channels, height, width = self.x
        result = batch * self.out * self.size**2
        return batch * channels * height * width + result * (1 + self.residual) + channels * self.out * self.kernel**2


def _functions(c: Conv) -> tuple[Callable[..., Tensor], ...]:
    """Eager, the best eager, genfast, and what the activation is applied to, as functions of x, weight, bias and the
    residual."""
    place = {"stride": c.stride, "padding": c.padding}
    conv: Callable[..., Tensor] = F.conv_transpose2d if c.transposed else F.conv2d
    op = genfast.conv_transpose2d_act if c.transposed else genfast.conv2d_act
    options: dict[str, Any] = {**place, "act": c.act, "act_param": PARAMS.get(c.act)}

    def sums(x: Tensor, w: Tensor, b: Tensor, *residual: Tensor) -> Tensor:
        y = conv(x, w, b, **place)
        return y + residual[0] if residual else y

    def eager(*inputs: Tensor) -> Tensor:
        return ACTIVATIONS[c.act](sums(*inputs))

    def best(x: Tensor, w: Tensor, b: Tensor, *residual: Tensor) -> Tensor:
        y = conv(x, w, b, **place)
        return IN_PLACE[c.act](y.add_(residual[0]) if residual else y)

    def ours(x: Tensor, w: Tensor, b: Tensor, *residual: Tensor) -> Tensor:
        return op(x, w, b, residual=residual[0] if residual else None, **options)

    def exact(x: Tensor, w: Tensor, b: Tensor, *residual: Tensor) -> Tensor:
        with genfast.numerics("exact"):
            return op(x, w, b, residual=residual[0] if residual else None, **options)

    return eager, best, exact if c.option == EXACT else ours, sums


def _in_format(wanted: torch.memory_format) -> Callable[..., Inputs]:
    def prepare(*inputs: Tensor) -> Inputs:
        return tuple(t.contiguous(memory_format=wanted) if t.dim() == 4 else t for t in inputs)

    return prepare


def _onednn(c: Conv) -> tuple[Callable[[], Callable[..., Tensor]], Callable[..., Inputs]] | None:
    """oneDNN with a packed weight and the activation as its post-op, in channels_last, which is its faster layout."""
    if c.residual:
        return None
    post = ONEDNN_POST_OPS[c.act]
    pad, stride, one = [c.padding] * 2, [c.stride] * 2, [1, 1]

    def build() -> Callable[..., Tensor]:
        if c.transposed:
            op = private_op("_convolution_transpose_pointwise")
            return lambda x, w, b: op(x, w, b, pad, [0, 0], stride, one, 1, *post)
        op = private_op("_convolution_pointwise")
        return lambda x, w, b: op(x, w, b, pad, stride, one, 1, *post)

    def prepare(x: Tensor, w: Tensor, b: Tensor) -> Inputs:
        x = x.contiguous(memory_format=torch.channels_last)
        if c.transposed:
            pack = private_op("_reorder_convolution_transpose_weight")
            return x, pack(w, pad, [0, 0], stride, one, 1, list(x.shape)), b
        return x, private_op("_reorder_convolution_weight")(w, pad, stride, one, 1, list(x.shape)), b

    return build, prepare


def conv_case(
    c: Conv, dtype: torch.dtype, device: torch.device, mode: str = "forward", cache: str = "warm"
) -> Case:  # fmt: skip
    """The case of one convolution."""
    eager, best, call, sums = _functions(c)
    layout = torch.contiguous_format if c.option == CONTIGUOUS else torch.channels_last
    batch, channels, _, _ = c.x
    result = (batch, c.out, c.size, c.size)
    weight = (channels, c.out) if c.transposed else (c.out, channels)
    taps = c.kernel**2 // (c.stride**2 if c.transposed else 1)

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        def images(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(shape, generator=generator).to(device, dtype).contiguous(memory_format=layout)

        w = parameter(random_weight((*weight, c.kernel, c.kernel), channels * taps, generator).to(device, dtype))
        b = parameter(torch.randn(c.out, generator=generator).to(device, dtype))
        extra = [images(result)] if c.residual else []
        gradient = [images(result)] if mode != "forward" else []
        return images(c.x), w, b, *extra, *gradient

    first, last = (_in_format(wanted) for wanted in _FORMATS)
    layer = Layer(eager, best, 2, first, last, _onednn(c) if device.type == "cpu" else None)
    numerics = "exact" if c.option == EXACT else "fast"
    passes = 1 if mode == "forward" else 3
    case = layer_case(
        layer, call, make, device, mode, cache, op=c.op, variant=c.variant, shape=c.x, dtype=dtype,
        bytes=passes * c.elements * dtype.itemsize, flops=passes * c.flops, slack=MAX_ERROR[numerics], memory=True,
    )  # fmt: skip
    if mode == "forward" or c.act not in _KINKED:
        return case

    def make_off_the_kinks(generator: torch.Generator, device: torch.device) -> Inputs:
        *inputs, gradient = case.make(generator, device)
        # Rounding decides on which side of the kink such an element is, and with it its derivative.
        with torch.no_grad():
            gradient[sums(*inputs).abs() < _NEAR] = 0
        return *inputs, gradient

    return replace(case, make=make_off_the_kinks)


WINOGRAD = tuple(
    Conv((n, c, size, size), c)
    for n, c, size in (
        (1, 64, 64), (1, 128, 64), (4, 128, 32), (1, 320, 64), (1, 256, 128), (8, 256, 16), (16, 128, 16), (4, 256, 8),
    )
)  # fmt: skip
"""3x3 convolutions with SiLU: the body of every diffusion U-Net."""


def _generator(batch: int, first: int, size: int) -> list[Conv]:
    """DCGAN's (Radford et al. 2016), with its norms folded into the convolutions."""
    up = {"kernel": 4, "transposed": True, "act": "relu"}
    layers = [Conv((batch, 100, 1, 1), first, padding=0, **up)]  # type: ignore[arg-type]
    channels, at = first, 4
    while at < size // 2:
        layers.append(Conv((batch, channels, at, at), channels // 2, stride=2, **up))  # type: ignore[arg-type]
        channels, at = channels // 2, 2 * at
    return [*layers, Conv((batch, channels, at, at), 3, 4, 2, act="tanh", transposed=True)]


def _discriminator(batch: int, size: int) -> list[Conv]:
    layers, channels, out, at = [], 3, 64, size
    while at > 4:
        layers.append(Conv((batch, channels, at, at), out, 4, 2, act="leaky_relu"))
        channels, out, at = out, 2 * out, at // 2
    return [*layers, Conv((batch, channels, 4, 4), 1, 4, 1, 0, "sigmoid")]


def _square(batch: int, channels: int, size: int, out: int, **options: Any) -> Conv:
    return Conv((batch, channels, size, size), out, **options)


def _cifar(batch: int) -> list[Conv]:
    """The U-Net of Ho et al. 2020: norm and SiLU precede its convolutions, so their epilogue is bias and residual."""
    plain: dict[str, Any] = {"act": "linear"}
    return [
        _square(batch, 3, 32, 128, **plain), _square(batch, 128, 32, 128, **plain, residual=True),
        _square(batch, 384, 32, 128, **plain), _square(batch, 128, 32, 128, **plain, stride=2),
        _square(batch, 256, 16, 256, **plain, residual=True), _square(batch, 512, 16, 256, **plain),
        _square(batch, 256, 16, 768, **plain, kernel=1, padding=0), _square(batch, 512, 8, 256, **plain),
        _square(batch, 256, 4, 256, **plain, residual=True), _square(batch, 128, 32, 3, **plain),
    ]  # fmt: skip


def _stable_diffusion(batch: int) -> list[Conv]:
    plain: dict[str, Any] = {"act": "linear"}
    return [
        _square(batch, 4, 64, 320, **plain), _square(batch, 320, 64, 320, **plain, residual=True),
        _square(batch, 640, 32, 640, **plain, residual=True), _square(batch, 1280, 16, 1280, **plain, residual=True),
        _square(batch, 1280, 8, 1280, **plain), _square(batch, 640, 32, 640, **plain, kernel=1, padding=0),
        _square(batch, 320, 64, 4, **plain),
    ]  # fmt: skip


_VAE_DECODER = [
    _square(1, 512, 64, 512, act="linear"), _square(1, 256, 256, 256, act="linear"),
    _square(1, 128, 512, 128, act="linear"), _square(1, 128, 512, 3, act="linear"),
]  # fmt: skip


def _stylegan2(batch: int) -> list[Conv]:
    """Synthesis layers of the 256x256 network."""
    wide = [_square(batch, channels, size, channels, act="leaky_relu") for channels, size in ((512, 16), (512, 32))]
    return [*wide, _square(batch, 256, 64, 256, act="leaky_relu"), _square(batch, 128, 128, 128, act="leaky_relu"),
            _square(batch, 128, 128, 3, act="linear", kernel=1, padding=0)]  # fmt: skip


def layers(batch: int) -> list[Conv]:
    """All convolutions of the suites at a batch size, each once."""
    found = [*_discriminator(batch, 64), *_discriminator(batch, 128)[:1], *_cifar(batch), *_stable_diffusion(batch)]
    found += [*_stylegan2(batch), *_generator(batch, 512, 64), *_generator(batch, 1024, 128)[:2]]
    found += _generator(batch, 1024, 128)[-1:]
    return list(dict.fromkeys([*found, *(_VAE_DECODER if batch == 1 else [])]))


FEW = (
    replace(_square(1, 64, 64, 3), act="tanh"), replace(_square(1, 128, 64, 3), act="tanh"),
)  # fmt: skip
"""The last layer of every generator."""
TRANSPOSED_FEW = (
    Conv((16, 64, 32, 32), 3, 4, 2, act="tanh", transposed=True),
    Conv((16, 64, 32, 32), 1, 4, 2, act="tanh", transposed=True),
)
TRANSPOSED_MANY = tuple(_generator(16, 512, 64)[1:-1])
BFLOAT16 = WINOGRAD[1:4]
TRAINED = (WINOGRAD[0], WINOGRAD[2], WINOGRAD[6])
TINY = Conv((1, 8, 8, 8), 8, act="linear", option=CONTIGUOUS)
"""Where the cost is the call."""


def _special(device: torch.device) -> Iterator[Case]:
    """What goals are about beside the models' layers."""
    f32 = torch.float32
    for c in WINOGRAD:
        yield conv_case(c, f32, device)
        yield conv_case(c, f32, device, cache="cold")
        yield conv_case(replace(c, option=EXACT), f32, device)
        yield conv_case(replace(c, option=CONTIGUOUS), f32, device)
    for c in (*FEW, *TRANSPOSED_FEW, TINY):
        yield conv_case(c, f32, device)
    for c in BFLOAT16:
        yield conv_case(c, torch.bfloat16, device)
    for c in TRAINED:
        yield conv_case(c, f32, device, "forward_backward")


def _all(device: torch.device) -> Iterator[Case]:
    yield from _special(device)
    known = {*WINOGRAD, *FEW, *TRANSPOSED_FEW}
    for batch in (1, 16):
        for number, c in enumerate(layers(batch)):
            if c in known:
                continue
            yield conv_case(c, torch.float32, device)
            if number % 3 == 1:
                yield conv_case(c, torch.bfloat16, device)
            # Backward of the large ones would take minutes each.
            if number % 3 == 2 and c.flops < 4e9:
                yield conv_case(c, torch.float32, device, "forward_backward")


_QUICK = (WINOGRAD[0], WINOGRAD[6], FEW[0], TRANSPOSED_FEW[0], _square(1, 64, 32, 128, kernel=4, stride=2))


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    """Cases of both convolution ops."""
    if quick:
        yield from (conv_case(c, torch.float32, device) for c in _QUICK)
        return
    yield from _all(device)


def plain_cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    return (case for case in cases(device, quick) if case.op == "conv2d_act")


def transposed_cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    return (case for case in cases(device, quick) if case.op == "conv_transpose2d_act")
