"""Whole networks beside their twins in plain PyTorch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import genfast.nn
from genfast import tuning
from genfast.bench.case import Case, Contender, Inputs, simple
from genfast.bench.suites.layers import compile_frozen
from genfast.models import UNet, UNetConfig

BATCHES = (1, 16)
_SLACK = 4.0
_LARGE = 2048
_TRAIN_STEPS = 1000
CIFAR, CIFAR_ONE_HEAD, DIGITS, GENERATOR = "ddpm_cifar10", "ddpm_cifar10_one_head", "digits", "dcgan_64"


def random_weights(model: nn.Module) -> nn.Module:
    """Random weights, the same at every call: the zeros that some networks start from would make them return zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(parameter[0].numel()))
            elif name.endswith("bias"):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def dcgan_generator(first: int = 512, size: int = 64) -> nn.Module:
    """The generator of Radford et al. 2016, its norms folded into the convolutions."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(100, first, 4), nn.ReLU(inplace=True)]
    channels, at = first, 4
    while at < size // 2:
        layers += [nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1), nn.ReLU(inplace=True)]
        channels, at = channels // 2, 2 * at
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh())


_CONFIGS: dict[str, Callable[[], UNetConfig]] = {
    CIFAR: lambda: UNetConfig(head_size=8),
    CIFAR_ONE_HEAD: UNetConfig,
    DIGITS: UNetConfig.digits,
}


def _untrained(name: str) -> nn.Module:
    """In plain PyTorch."""
    return dcgan_generator() if name == GENERATOR else UNet(_CONFIGS[name](), fused=False)


@cache
def _model(name: str, fused: bool, device: torch.device) -> nn.Module:
    model = random_weights(_untrained(name))
    if fused and name == GENERATOR:
        genfast.nn.accelerate(model)
    elif fused:
        genfast.nn.set_fused(model)
    return model.to(device).eval().requires_grad_(False)


class _Whole(nn.Module):
    """A model whose forward has code of its own, so that torch.compile shares nothing with another compilation."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(*inputs)


def _twin(name: str, device: torch.device, layout: torch.memory_format) -> nn.Module:
    return copy.deepcopy(_model(name, False, device)).to(memory_format=layout)  # type: ignore[call-overload]


@cache
def _flops(name: str, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        x = torch.empty(shape)
        model = _untrained(name).requires_grad_(False)
        model(*((x,) if name == GENERATOR else (x, torch.empty(shape[0]))))
    return counter.get_total_flops()


def _training(model: nn.Module) -> Callable[..., tuple[Tensor, ...]]:
    """The output, and the gradients of its mean square by all parameters; of small ones one may be exact by chance."""
    parameters = list(model.parameters())

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        for parameter in parameters:
            parameter.requires_grad_()
        out = model(*inputs)
        gradients = torch.autograd.grad(out.square().mean(), parameters)
        return out.detach(), *(g for g in gradients if g.numel() >= _LARGE)

    return call


def model_case(name: str, batch: int, device: torch.device, mode: str = "forward") -> Case:
    """A network at a batch size."""
    forward = mode == "forward"
    shape = (batch, 100, 1, 1) if name == GENERATOR else (batch, *{DIGITS: (1, 8, 8)}.get(name, (3, 32, 32)))

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        x = torch.randn(shape, generator=generator).to(device)
        if name == GENERATOR:
            return (x,)
        # As a sampler calls it; in training every image has a time of its own.
        t = torch.randint(_TRAIN_STEPS, (1 if forward else batch,), generator=generator)
        return x, t.expand(batch).contiguous().to(device)

    def last(x: Tensor, *t: Tensor) -> Inputs:
        return x.contiguous(memory_format=torch.channels_last), *t

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        wide = _twin(name, device, torch.contiguous_format).double()
        with torch.enable_grad():
            out = wrap(wide)(inputs[0].double(), *inputs[1:])
        return out if isinstance(out, tuple) else (out.detach(),)

    def frozen() -> Callable[..., Tensor]:
        model = _Whole(_twin(name, device, torch.channels_last))
        return compile_frozen(model, last(*make(torch.Generator(), device)))

    def twin(layout: torch.memory_format) -> Callable[[], Callable[..., Any]]:
        return lambda: wrap(_twin(name, device, layout))

    def compiled() -> Callable[..., Any]:
        model = _twin(name, device, torch.channels_last)
        if forward:
            return torch.compile(model, dynamic=False)
        model.compile(dynamic=False)
        return _training(model)

    wrap: Callable[[nn.Module], Callable[..., Any]] = (lambda model: model) if forward else _training
    baselines = [
        Contender("eager", twin(torch.contiguous_format)),
        Contender("eager_best", twin(torch.channels_last), last, inference=forward),
    ]  # fmt: skip
    # Backward through the large network compiles for minutes.
    if forward or name == DIGITS:
        baselines.append(Contender("compile", compiled, last, compiled=True))
    if forward:
        baselines.append(Contender("compile_freezing", frozen, last, compiled=True))
    state: list[Callable[..., Any]] = []

    def call(*inputs: Tensor) -> Any:
        if not state:
            model = _model(name, True, device)
            state.append(model if forward else _training(copy.deepcopy(model)))
        return state[0](*inputs)

    return Case(
        op="model", variant=name, shape=shape, mode=mode, make=make, call=call, truth=truth,
        baselines=tuple(baselines), bytes=0, slack=_SLACK, memory=True,
        flops=(1 if forward else 3) * _flops(name, shape),
    )  # fmt: skip


def first_call_case(batch: int, device: torch.device) -> Case:
    """Copying the network and calling it once, with nothing tuned or packed: what comes before the first image."""

    def fresh(fused: bool) -> Callable[..., Tensor]:
        def call(*inputs: Tensor) -> Tensor:
            tuning.clear()
            return copy.deepcopy(_model(CIFAR, fused, device))(*inputs)

        return call

    case = model_case(CIFAR, batch, device)
    return replace(
        case, variant=f"{CIFAR} first call", call=fresh(True), baselines=(Contender("eager", simple(fresh(False))),),
        memory=False,
    )  # fmt: skip


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for batch in BATCHES:
        for name in (DIGITS, GENERATOR) if quick else (CIFAR, CIFAR_ONE_HEAD, DIGITS, GENERATOR):
            yield model_case(name, batch, device)
    if not quick:
        for batch in BATCHES:
            yield first_call_case(batch, device)
        yield model_case(DIGITS, 64, device, "forward_backward")
        yield model_case(CIFAR, 1, device, "forward_backward")
