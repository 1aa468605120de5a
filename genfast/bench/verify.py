"""Whether a contender computes what it should: its results beside the same in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from genfast.bench.case import Case, Contender, Inputs
from genfast.ops._conv.gpu import allows_tf32

# A baseline must compute the same thing, not be as exact: some keep their coefficients in float32, and diffusers, for
# bfloat16 images, the products of its alphas in bfloat16.
_BASELINE_SHARE = {torch.float32: 1e-4, torch.float16: 2**-8, torch.bfloat16: 2**-4}
_CONVOLVES = ("conv2d_act", "conv_transpose2d_act", "gradient_penalty", "model", "sampling", "training")


@dataclass(frozen=True)
class Check:
    """The largest error of a contender, and why it is refused (``""`` if it is not)."""

    max_error: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason


def as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    if isinstance(outputs, Tensor):
        return (outputs,)
    return tuple(t for t in outputs if isinstance(t, Tensor))


def ulp(truth: Tensor, dtype: torch.dtype) -> Tensor:
    """The distance of neighbouring numbers of ``dtype`` at ``truth``, in float64."""
    info = torch.finfo(dtype)
    magnitude = truth.abs().clamp(min=info.smallest_normal)
    return torch.exp2(torch.floor(torch.log2(magnitude))) * info.eps


def _shape_reason(outputs: Sequence[Tensor], truth: Sequence[Tensor]) -> str:
    if len(outputs) != len(truth):
        return f"gives {len(outputs)} results instead of {len(truth)}"
    for k, (value, wanted) in enumerate(zip(outputs, truth, strict=True)):
        if value.shape != wanted.shape:
            return f"result {k} has shape {list(value.shape)} instead of {list(wanted.shape)}"
    return ""


def errors(outputs: Sequence[Tensor], truth: Sequence[Tensor]) -> list[Tensor]:
    """Absolute errors in float64; where either is not finite, infinity unless they agree."""
    found = []
    for value, wanted in zip(outputs, truth, strict=True):
        wide = value.to(torch.float64)
        error = (wide - wanted).abs()
        same = (wide == wanted) | (wide.isnan() & wanted.isnan())
        found.append(torch.where(same, 0.0, torch.where(error.isfinite(), error, torch.inf)))
    return found


def largest(values: Sequence[Tensor]) -> float:
    return max((float(v.max()) for v in values if v.numel()), default=0.0)


def arithmetic(case: Case, device: torch.device) -> torch.dtype:
    """The dtype whose bound a baseline is held to.

    Unless told otherwise, PyTorch lets cuDNN cut the float32 operands of convolutions to TF32, which has 10 bits. A
    derivative of a network is then hardly more exact than in bfloat16.
    """
    narrow = case.dtype == torch.float32 and case.op in _CONVOLVES and device.type == "cuda"
    return torch.bfloat16 if narrow and allows_tf32() else case.dtype


def check_baseline(outputs: Any, truth: Sequence[Tensor], name: str, dtype: torch.dtype = torch.float32) -> Check:
    """Whether a baseline computes the same thing as ``truth`` from inputs of ``dtype``.

    A float32 result of half types, as a loss is, is as exact as they are.
    """
    outputs = as_tuple(outputs)
    reason = _shape_reason(outputs, truth)
    if reason:
        return Check(float("inf"), f"{name} {reason}")
    found = errors(outputs, truth)
    for k, (error, value, wanted) in enumerate(zip(found, outputs, truth, strict=True)):
        scale = float(wanted.abs().max()) if wanted.numel() else 0.0
        allowed = max(_BASELINE_SHARE.get(kind, 1e-4) for kind in (value.dtype, dtype)) * scale
        if largest([error]) > allowed:
            return Check(
                largest(found), f"{name} is off by {largest([error]):.3g} in result {k}, allowed {allowed:.3g}"
            )
    return Check(largest(found))


def check_moments(outputs: Any, truth: Sequence[Tensor], name: str) -> Check:
    """Whether noise of another generator has the mean and variance of ``truth``, within 8 standard errors of both."""
    outputs = as_tuple(outputs)
    reason = _shape_reason(outputs, truth)
    for value, wanted in zip(outputs, truth, strict=False) if not reason else ():
        wide, n = value.to(torch.float64), value.numel()
        spread = float(wanted.std())
        off = abs(float(wide.mean() - wanted.mean())) / spread, abs(float(wide.std()) / spread - 1)
        if not max(off) <= 8 * (2 / n) ** 0.5:
            reason = f"gives noise of mean {float(wide.mean()):.3g} and deviation {float(wide.std()):.3g}"
    return Check(float("nan"), f"{name} {reason}" if reason else "")


def check_genfast(outputs: Any, truth: Sequence[Tensor], eager: Sequence[Any], slack: float) -> Check:
    """Whether every error is at most ``slack`` times the largest of eager's own, plus one ulp of the output's type.

    ``eager`` is what eager PyTorch gives, in each of its ways.
    """
    outputs = as_tuple(outputs)
    reason = _shape_reason(outputs, truth)
    if reason:
        return Check(float("inf"), f"genfast {reason}")
    found = errors(outputs, truth)
    owns = zip(*(errors(as_tuple(way), truth) for way in eager), strict=True)
    for k, (error, own, value, wanted) in enumerate(zip(found, owns, outputs, truth, strict=True)):
        allowed = slack * largest(own) + ulp(wanted, value.dtype)
        if bool((error > allowed).any()):
            worst = float((error - allowed).max())
            return Check(
                largest(found),
                f"genfast is off by {largest([error]):.3g} in result {k}, eager by {largest(own):.3g}"
                f" ({worst:.3g} more than allowed)",
            )
    return Check(largest(found))


def _global_noise(inputs: Inputs) -> Tensor:
    """The next ``torch.randn`` of the first input's shape, with the generator left as it was before."""
    first = next(t for t in inputs if isinstance(t, Tensor))
    with torch.random.fork_rng(devices=[first.device] if first.device.type == "cuda" else []):
        return torch.randn(first.shape, dtype=first.dtype, device=first.device)


def _call(contender: Contender, function: Any, inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
    args = inputs if contender.prepare is None else contender.prepare(*inputs)
    outputs = function(*args) if noise is None else function(*args, noise=noise)
    # A compiled contender may give the same memory again at its next call.
    return tuple(t.detach().clone() for t in as_tuple(outputs))


def remember(case: Case) -> Case:
    """The case for one set of inputs: its noise is drawn once, and the truth computed once for each noise."""
    drawn: list[Tensor] = []
    truths: dict[int, tuple[Tensor | None, tuple[Tensor, ...]]] = {}

    def draw(inputs: Inputs) -> Tensor:
        if not drawn:
            assert case.draw is not None
            drawn.append(case.draw(inputs))
        return drawn[0]

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        if id(noise) not in truths:
            truths[id(noise)] = noise, case.truth(inputs, noise)
        return truths[id(noise)][1]

    return replace(case, draw=None if case.draw is None else draw, truth=truth)


def baseline(case: Case, contender: Contender, function: Any, inputs: Inputs) -> Check:
    """Check a built baseline on fresh inputs."""
    if contender.noise == "own":
        return check_moments(_call(contender, function, inputs, None), case.truth(inputs, None), contender.name)
    if case.draw is None or contender.noise == "none":
        outputs, truth = _call(contender, function, inputs, None), case.truth(inputs, None)
    elif contender.noise == "global":
        truth = case.truth(inputs, _global_noise(inputs))
        outputs = _call(contender, function, inputs, None)
    else:
        noise = case.draw(inputs)
        outputs, truth = _call(contender, function, inputs, noise), case.truth(inputs, noise)
    return check_baseline(outputs, truth, contender.name, arithmetic(case, truth[0].device))


def genfast(case: Case, call: Any, eager: Any, inputs: Inputs) -> Check:
    """Check the genfast call on fresh inputs; ``eager`` is the built eager contender."""
    noise = None if case.draw is None else case.draw(inputs)
    truth = case.truth(inputs, noise)
    if case.yardsticks is not None:
        own = case.yardsticks(inputs, noise)
    else:
        own = [_call(case.eager, eager, inputs, noise if case.eager.noise == "given" else None)]
    # Eager is held to the loose bound too: a wrong truth must not widen the tolerance.
    for way in own:
        sane = check_baseline(way, truth, "eager", arithmetic(case, truth[0].device))
        if not sane.ok:
            return sane
    outputs = _call(Contender("genfast", lambda: call, case.prepare), call, inputs, None)
    return check_genfast(outputs, truth, own, case.slack)
