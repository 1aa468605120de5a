"""What ``genfast tune`` measures and prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

import genfast
from genfast.tuning import Choice

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_SIZES = ("x", "weight")
_PAIRS = ("stride", "padding", "dilation", "output_padding")
_EXPECTED = (
    "expected as in --show: x=1x64x32x32 weight=64x64x3x3, and of conv_transpose2d, stride=, padding=, dilation=, "
    "output_padding=, groups=, act=, bias, residual, a dtype and a layout what differs from the default"
)


def _numbers(word: str, value: str) -> list[int]:
    try:
        return [int(number) for number in value.split("x")]
    except ValueError:
        raise ValueError(f"shape: {word} must be ints with an x between them, got {value!r}; {_EXPECTED}") from None


def tune_shape(text: str) -> None:
    """Run one convolution, written as the keys of choices are, so that it is measured."""
    sizes: dict[str, list[int]] = {}
    options: dict[str, Any] = {"act": "silu"}
    dtype, layout, flags = torch.float32, torch.contiguous_format, set()
    for word in text.split():
        name, _, value = word.partition("=")
        if name in _SIZES:
            sizes[name] = _numbers(name, value)
        elif name in _PAIRS:
            options[name] = _numbers(name, value)
        elif name == "groups":
            options[name] = _numbers(name, value)[0]
        elif name == "act":
            options[name] = value
        elif name in _DTYPES:
            dtype = _DTYPES[name]
        elif name in _LAYOUTS:
            layout = _LAYOUTS[name]
        elif word in ("conv2d", "conv_transpose2d", "bias", "residual"):
            flags.add(word)
        else:
            raise ValueError(f"shape: unknown word {word!r}; {_EXPECTED}")
    if set(sizes) != set(_SIZES) or any(len(size) != 4 for size in sizes.values()):
        raise ValueError(f"shape: x and weight must have four sizes, got {text!r}; {_EXPECTED}")
    transposed = "conv_transpose2d" in flags
    call: Any = genfast.conv_transpose2d_act if transposed else genfast.conv2d_act
    x = torch.zeros(sizes["x"], dtype=dtype).contiguous(memory_format=layout)
    weight = torch.nn.Parameter(torch.zeros(sizes["weight"], dtype=dtype), requires_grad=False)
    channels = weight.shape[1] * options.get("groups", 1) if transposed else weight.shape[0]
    bias = torch.zeros(channels) if "bias" in flags else None
    result = call(x, weight, bias, **options)
    if "residual" in flags:
        call(x, weight, bias, residual=result, **options)


def table(choices: Sequence[Choice]) -> list[str]:
    """A line per choice: what is taken, how many times as fast as eager PyTorch it was, and for what."""
    lines = []
    for choice in choices:
        eager, own = choice.times.get("eager"), choice.times.get(choice.name)
        gain = f"{eager / own:5.2f}x eager  {own:9.1f} us" if eager and own else f"{choice.source:>24}"
        others = ", ".join(f"{name} {time:.1f}" for name, time in choice.times.items() if name != choice.name)
        lines.append(f"{choice.name:<24}{gain}  {choice.key}")
        if others:
            lines.append(f"{'':<24}beside {others}")
        lines += [f"{'':<24}refused {name}: {reason}" for name, reason in choice.refused.items()]
    return lines
