"""What GANs and VAEs are built of: rows of linear layers, and the convolutional trunks of Radford et al. 2016."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from genfast.nn import BatchNormAct2d, ConvAct2d, ConvTransposeAct2d, Dropout, GroupNormAct, LinearAct, plain_pytorch

_GROUPS = 32


def linears(sizes: Sequence[int], act: str, dropout: float = 0.0) -> list[nn.Module]:
    """Linear layers from each size to the next, each with the activation, and with dropout where it is not 0."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [LinearAct(a, b, act=act), *([Dropout(dropout)] if dropout else [])]
    return layers


def levels(image_size: int) -> int:
    """How often a trunk halves an image: to 4 pixels or less, or to an odd size, and at least twice."""
    found = 2
    while image_size >> found > 4 and image_size % (2 << found) == 0:
        found += 1
    return found


def widths(channels: int, image_size: int) -> list[int]:
    """Channels of every level of a trunk, from the images' end: each has twice those of the one before."""
    return [channels << level for level in range(levels(image_size))]


def _without(norm: str, act: str) -> tuple[bool, str]:
    """Bias and activation of a convolution beside ``norm``, which has both unless it is none."""
    return norm == "none", act if norm == "none" else "linear"


def _normed(layer: ConvAct2d | ConvTransposeAct2d, norm: str, act: str) -> list[nn.Module]:
    """``layer``, then the norm with the activation."""
    if norm == "none":
        return [layer]
    if norm == "batch":
        return [layer, BatchNormAct2d(layer.out_channels, act=act)]
    return [layer, GroupNormAct(math.gcd(layer.out_channels, _GROUPS), layer.out_channels, act=act)]


def _same(width: int, count: int, norm: str, act: str) -> list[nn.Module]:
    """``count`` 3x3 convolutions that keep size and width, each with norm and activation."""
    bias, inner = _without(norm, act)
    layers = [ConvAct2d(width, width, 3, padding=1, bias=bias, act=inner) for _ in range(count)]
    return [module for layer in layers for module in _normed(layer, norm, act)]


def up(
    latent: int, image_size: int, channels: int, out_channels: int, norm: str, out_act: str, depth: int = 0
) -> nn.Sequential:
    """Latents ``[B, latent, 1, 1]`` -> ``[B, out_channels, image_size, image_size]``; ReLU inside.

    Each doubling of the size is followed by ``depth`` 3x3 convolutions, of which the very last makes the image.
    """
    first, *rest = widths(channels, image_size)[::-1]
    bias, act = _without(norm, "relu")
    start = image_size >> (len(rest) + 1)
    layers = _normed(ConvTransposeAct2d(latent, first, start, bias=bias, act=act), norm, "relu")
    width = first
    for wanted in rest:
        layers += _normed(ConvTransposeAct2d(width, wanted, 4, 2, 1, bias=bias, act=act), norm, "relu")
        layers += _same(wanted, depth, norm, "relu")
        width = wanted
    if not depth:
        return nn.Sequential(*layers, ConvTransposeAct2d(width, out_channels, 4, 2, 1, act=out_act))
    layers += _normed(ConvTransposeAct2d(width, width, 4, 2, 1, bias=bias, act=act), norm, "relu")
    layers += _same(width, depth - 1, norm, "relu")
    return nn.Sequential(*layers, ConvAct2d(width, out_channels, 3, padding=1, act=out_act))


def down(in_channels: int, image_size: int, channels: int, norm: str) -> nn.Sequential:
    """Images ``[B, in_channels, H, W]`` -> features; leaky ReLU inside, and no norm behind the first convolution."""
    first, *rest = widths(channels, image_size)
    layers: list[nn.Module] = [ConvAct2d(in_channels, first, 4, 2, 1, act="leaky_relu")]
    width = first
    bias, act = _without(norm, "leaky_relu")
    for wanted in rest:
        layers += _normed(ConvAct2d(width, wanted, 4, 2, 1, bias=bias, act=act), norm, "leaky_relu")
        width = wanted
    return nn.Sequential(*layers)


def features(channels: int, image_size: int) -> int:
    """How many numbers :func:`down` makes of an image."""
    return widths(channels, image_size)[-1] * (image_size >> levels(image_size)) ** 2


def initialise(model: nn.Module) -> None:
    """The initialisation of Radford et al. 2016: N(0, 0.02) for weights, N(1, 0.02) for scales of norms."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def initialise_linears(layers: nn.Module, slope: float) -> None:
    """The initialisation of He et al. 2015 for linear layers with leaky ReLU, of which the last has another activation.

    PyTorch's own halves what tells latents apart at every layer, and all images of a generator begin as one.
    """
    *inner, last = [module for module in layers.modules() if isinstance(module, nn.Linear)]
    for layer in inner:
        nn.init.kaiming_normal_(layer.weight, a=slope)
        nn.init.zeros_(layer.bias)
    nn.init.kaiming_normal_(last.weight, nonlinearity="linear")
    nn.init.zeros_(last.bias)


def run(layers: nn.Module, x: Tensor, fused: bool) -> Tensor:
    """``layers(x)`` in the way that is the fastest on a CPU: in channels_last.

    In training every weight changes at every step, so packing it does not pay, and PyTorch's convolutions, which do
    without, are faster. Else it is the fused layers.
    """
    if not fused or x.device.type != "cpu" or torch.compiler.is_compiling():
        return layers(x)
    with plain_pytorch(layers.training):
        return layers(x.contiguous(memory_format=torch.channels_last))
