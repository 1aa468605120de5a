"""What the suites of layers share: activations as users write them, contenders, and cases with weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfast.bench.case import Case, Contender, Inputs, Unavailable, simple

Function = Callable[..., Tensor]

ACTIVATIONS: dict[str, Function] = {
    "linear": lambda x: x,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, SLOPE),
    "silu": F.silu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
IN_PLACE: dict[str, Function] = {
    "linear": lambda x: x,
    "relu": torch.relu_,
    "leaky_relu": lambda x: F.leaky_relu_(x, SLOPE),
    "silu": lambda x: F.silu(x, inplace=True),
    "gelu": F.gelu,
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
}
SLOPE = 0.2
PARAMS = {"leaky_relu": SLOPE}

ONEDNN_POST_OPS: dict[str, tuple[str, list[float], str]] = {
    "linear": ("none", [], ""), "relu": ("relu", [], ""), "leaky_relu": ("leaky_relu", [SLOPE], ""),
    "silu": ("swish", [], ""), "gelu": ("gelu", [], "none"), "tanh": ("tanh", [], ""), "sigmoid": ("sigmoid", [], ""),
}  # fmt: skip
"""Attribute, scalars and algorithm, as oneDNN's fused ops in PyTorch take them."""


def private_op(name: str) -> Any:
    """One of the ops that torch.compile calls for oneDNN."""
    found = getattr(torch.ops.mkldnn, name, None)
    if found is None or not torch.backends.mkldnn.is_available():
        raise Unavailable(f"this PyTorch has no mkldnn::{name}")
    return found


def with_gradients(function: Callable[..., Tensor], leaves: int) -> Callable[..., tuple[Tensor, ...]]:
    """The result, and the gradients of the first ``leaves`` inputs for the gradient of the result, which is last."""

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        given = [t.detach().requires_grad_() for t in inputs[:leaves]]
        y = function(*given, *inputs[leaves:-1])
        return y.detach(), *torch.autograd.grad(y, given, inputs[-1])

    return call


class _Frozen(nn.Module):
    """A function whose last inputs are constants: what torch.compile folds when it freezes."""

    def __init__(self, function: Function, weights: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(w, requires_grad=False) for w in weights])

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        return self.function(x, *self.weights, *rest)


def compile_frozen(model: nn.Module, example: Inputs) -> Callable[..., Tensor]:
    """torch.compile of a model with its parameters as constants, compiled for inputs like ``example``."""
    import torch._inductor.config as inductor

    compiled: Any = torch.compile(model.eval(), dynamic=False)
    with torch.no_grad(), inductor.patch(freezing=True):
        compiled(*example)
    return compiled


@dataclass(frozen=True)
class Layer:
    """How a layer's case is computed; ``function(x, *weights, *rest)``.

    Attributes:
        eager, best: as users write it, and the best of it.
        weights: how many of the inputs, behind x, a model holds as its parameters.
        prepare_eager, prepare_best: bring the inputs into the layout the contender wants.
        onednn: builds oneDNN's fused function, and says how to pack its inputs; None where it has none.
    """

    eager: Function
    best: Function
    weights: int
    prepare_eager: Callable[..., Inputs] | None = None
    prepare_best: Callable[..., Inputs] | None = None
    onednn: tuple[Callable[[], Function], Callable[..., Inputs]] | None = None

    def baselines(self, make: Callable[[], Inputs], mode: str, cache: str) -> tuple[Contender, ...]:
        """Eager, the best eager, oneDNN's fused form, torch.compile, and torch.compile with freezing.

        ``make`` gives inputs with the case's weights, which freezing makes constants of: where weights change from
        set to set (``cold``) it is left out.
        """
        forward = mode == "forward"

        def wrap(function: Function) -> Callable[..., Any]:
            return function if forward else with_gradients(function, 1 + self.weights)

        found = [
            Contender("eager", simple(wrap(self.eager)), self.prepare_eager),
            Contender("eager_best", simple(wrap(self.best if forward else self.eager)), self.prepare_best,
                      inference=forward),
        ]  # fmt: skip
        if self.onednn is not None and forward:
            found.append(Contender("onednn", self.onednn[0], self.onednn[1], inference=True))
        if cache == "warm":
            compiled = lambda: wrap(torch.compile(self.eager, dynamic=False))  # noqa: E731
            found.append(Contender("compile", compiled, self.prepare_best, compiled=True))
            if forward and self.weights:
                found.append(
                    Contender("compile_freezing", lambda: self._frozen(make()), self.prepare_best, compiled=True)
                )
        return tuple(found)

    def _frozen(self, inputs: Inputs) -> Callable[..., Tensor]:
        inputs = inputs if self.prepare_best is None else self.prepare_best(*inputs)
        model = _Frozen(self.eager, inputs[1 : 1 + self.weights])
        kept = compile_frozen(model, (inputs[0], *inputs[1 + self.weights :]))
        return lambda x, *rest: kept(x, *rest[self.weights :])


def random_weight(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator) / math.sqrt(fan_in)


def parameter(value: Tensor) -> Tensor:
    """As a model in use holds its weights: packs of them are kept."""
    return nn.Parameter(value, requires_grad=False)


def double_truth(function: Callable[..., Any]) -> Callable[[Inputs, Tensor | None], tuple[Tensor, ...]]:
    """The truth of a case: ``function`` in float64."""

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            out = function(*(t.detach().contiguous().double() for t in inputs))
        return tuple(t.detach() for t in out) if isinstance(out, tuple) else (out.detach(),)

    return truth


def layer_case(
    layer: Layer, call: Function, make: Callable[[torch.Generator, torch.device], Inputs], device: torch.device,
    mode: str, cache: str, **facts: Any,
) -> Case:  # fmt: skip
    """The case of a layer. ``make`` draws everything; a warm case keeps the weights that it draws first."""
    held: list[tuple[Tensor, ...]] = []

    def with_weights(generator: torch.Generator, device: torch.device) -> Inputs:
        inputs = make(generator, device)
        if cache == "cold":
            return inputs
        if not held:
            held.append(inputs[1 : 1 + layer.weights])
        return inputs[0], *held[0], *inputs[1 + layer.weights :]

    def wrap(function: Function) -> Callable[..., Any]:
        return function if mode == "forward" else with_gradients(function, 1 + layer.weights)

    def yardsticks(inputs: Inputs, noise: Tensor | None) -> list[Any]:
        """Eager in each layout: vendor libraries sum in another order there, with errors of another size."""
        ways = dict.fromkeys((layer.prepare_eager, layer.prepare_best))
        with torch.enable_grad():
            return [wrap(layer.eager)(*(inputs if way is None else way(*inputs))) for way in ways]

    return Case(
        make=with_weights, call=wrap(call), truth=double_truth(wrap(layer.eager)), yardsticks=yardsticks,
        baselines=layer.baselines(lambda: with_weights(torch.Generator().manual_seed(0), device), mode, cache),
        mode=mode, cache=cache, **facts,
    )  # fmt: skip
