"""Candidates beside one another: are they right, and which is the fastest?"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from genfast.backend import native
from genfast.numerics import MAX_ERROR, RMS_ERROR, current
from genfast.ops._conv.arguments import out_size
from genfast.ops._conv.problem import WORTH_MEASURING, Candidate, Epilogue, Problem
from genfast.ops.bias_act.reference import bias_act
from genfast.ops.normal_noise import normal_noise
from genfast.tuning import Choice

BUDGET = 0.040
"""Seconds for one problem; rounds stop there."""
_LARGEST = 3e8
"""Operations of a measured problem: larger ones are measured on a part of their images."""
_ROUNDS = 5
_MOST_ROUNDS = 20
_PATIENCE = 3
_SETTLED = 1.2
_POINTS = 64
_TRUTH_TERMS = 1 << 20
MARGIN = 0.97
"""Eager PyTorch stays unless another candidate takes at most this share of its time."""
_HOPELESS, _FAR = 1.5, 2.0
_ULP = {torch.float32: 2.0**-23, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


def cropped(problem: Problem) -> Problem:
    """The problem with fewer images, then fewer pixels, then fewer channels, until it takes a millisecond or two.

    Input channels go last, because rounding errors, and with them what candidates support, depend on them.
    """
    p = problem
    while p.flops > _LARGEST:
        n, c, h, w = p.x
        first, second, kh, kw = p.weight
        o, i = (second, first) if p.transposed else (first, second)
        least = max(8, p.dilation[0] * (kh - 1) + 1, p.dilation[1] * (kw - 1) + 1)
        if n > 1:
            p = _resized(p, (max(1, min(n - 1, int(n * _LARGEST / p.flops))), c, h, w), p.weight)
        elif max(h, w) >= 2 * max(16, least) or (max(h, w) >= 2 * least and (o <= 128 or p.groups > 1)):
            p = _resized(p, (1, c, (h + 1) // 2, w) if h >= w else (1, c, h, (w + 1) // 2), p.weight)
        elif p.groups == 1 and o > 128:
            p = _resized(p, p.x, (i, o // 2, kh, kw) if p.transposed else (o // 2, i, kh, kw))
        elif p.groups == 1 and i > 128:
            p = _resized(p, (1, i // 2, h, w), (i // 2, o, kh, kw) if p.transposed else (o, i // 2, kh, kw))
        else:
            break
    return p


def _resized(p: Problem, x: tuple[int, int, int, int], weight: tuple[int, int, int, int]) -> Problem:
    height, width = (
        out_size(p.transposed, x[2 + k], weight[2 + k], p.stride[k], p.padding[k], p.dilation[k], p.output_padding[k])
        for k in (0, 1)
    )
    channels = weight[1] * p.groups if p.transposed else weight[0]
    return replace(p, x=x, weight=weight, out=(x[0], channels, height, width))


class Operands:
    """Fresh tensors of a problem, and the true values of some elements of its result."""

    def __init__(self, problem: Problem, epilogue: Epilogue) -> None:
        p = self.problem = problem
        device = "cuda" if p.device == "cuda" and torch.cuda.is_available() else "cpu"

        def draw(shape: tuple[int, ...], seed: int, dtype: torch.dtype = p.dtype, dense: bool = False) -> Tensor:
            layout = p.memory_format if dense else torch.contiguous_format
            return normal_noise(shape, seed, dtype=dtype, device=device, memory_format=layout)

        terms = p.weight[1] * p.weight[2] * p.weight[3] if not p.transposed else p.x[1] // p.groups
        self.x = draw(p.x, 1, dense=True)
        self.weight = draw(p.weight, 2) * terms**-0.5
        self.bias = draw((p.out[1],), 3, torch.float32) if p.has_bias else None
        self.residual = draw(p.out, 4, dense=True) if p.has_residual else None
        self._points = self._some_points()
        self.truth = self._truth(epilogue)

    def _some_points(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Samples, rows and columns, the four corners among them; and as many channels as float64 has time for."""
        p = self.problem
        n, o, h, w = p.out
        corners = [(0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1)]
        inner = [(k * 7919 % h, k * 104729 % w) for k in range(1, _POINTS - 3)]
        y, x = torch.tensor(corners + inner).T
        terms = p.x[1] * p.weight[2] * p.weight[3]
        count = min(o, 64, max(1, _TRUTH_TERMS // terms))
        channels = torch.arange(count) * o // count
        return torch.arange(len(y)) % n, y, x, channels

    def _truth(self, e: Epilogue) -> Tensor:
        """``[points, channels]`` in float64, from the definition."""
        p = self.problem
        sample, y, x, channels = self._points
        taps_y, taps_x = (t.flatten() for t in torch.meshgrid(*(torch.arange(k) for k in p.weight[2:]), indexing="ij"))
        rows, inside_y = _inputs(p, 0, y, taps_y)
        columns, inside_x = _inputs(p, 1, x, taps_x)
        patches = self.x.permute(0, 2, 3, 1)[sample[:, None], rows, columns].double().cpu()  # [points, taps, C]
        patches = patches * (inside_y & inside_x)[..., None]
        per_group = p.out[1] // p.groups
        group = channels // per_group
        if p.transposed:
            taps = self.weight.view(p.groups, p.x[1] // p.groups, per_group, -1)[group, :, channels % per_group]
        else:
            taps = self.weight.view(p.out[1], p.x[1] // p.groups, -1)[channels]  # [channels, C / groups, taps]
        taps = taps.double().cpu()
        if p.groups == 1:
            z = patches.flatten(1) @ taps.transpose(1, 2).flatten(1).T
        else:
            in_group = p.x[1] // p.groups
            index = group[:, None] * in_group + torch.arange(in_group)
            z = torch.einsum("ptoc,oct->po", patches[:, :, index], taps)
        bias = None if self.bias is None else self.bias[channels].double().cpu()
        residual = None if self.residual is None else self.picked(self.residual)
        return bias_act(z, bias, residual, 1, e.act, e.param, e.gain, e.clamp)

    def picked(self, result: Tensor) -> Tensor:
        """The elements of a result that :attr:`truth` holds, in float64."""
        sample, y, x, channels = self._points
        return result[sample[:, None], channels[None, :], y[:, None], x[:, None]].double().cpu()


class Runner:
    """A candidate on the operands."""

    def __init__(self, operands: Operands, candidate: Candidate, epilogue: Epilogue, kept: bool, evicted: bool) -> None:
        self._evicted = evicted
        self.candidate = candidate
        self._operands, self._kept = operands, kept
        self._pack = lambda: candidate.pack(operands.problem, operands.weight)
        self._bound = candidate.bind(operands.problem, epilogue)
        self._packed = self._pack() if kept else operands.weight

    def __call__(self) -> Tensor:
        o = self._operands
        return self._bound(o.x, self._packed if self._kept else self._pack(), o.bias, o.residual)

    def time(self) -> float:
        """Seconds of one call; ``evicted``: with its weight read from memory, because between two calls a network reads
        all its others."""
        cuda = self._operands.x.is_cuda
        if cuda:
            torch.cuda.synchronize()
        elif self._evicted and native is not None:
            weight = self._packed
            if weight.layout is torch.strided:
                native.evict(weight.data_ptr(), weight.nbytes)
            else:
                native.evict(torch.ops.mkldnn.data_ptr(weight), torch.ops.mkldnn._nbytes(weight))
        start = time.perf_counter()
        self()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start


class Judge:
    """Holds results against float64, and against the errors of PyTorch's own convolutions: the largest of its ways,
    because they sum in different orders."""

    def __init__(self, operands: Operands, vendor: list[Tensor]) -> None:
        self._operands, self._eager = operands, vendor[0]
        errors = [self.errors(result) for result in vendor]
        ulp, truth = _ULP[vendor[0].dtype], operands.truth
        self._largest = max(max(largest for largest, _ in errors), 1e-300)
        self._rms = max(rms for _, rms in errors)
        self._ulp = ulp * float(truth.abs().max())
        self._ulp_rms = ulp * float(truth.square().mean().sqrt())

    def errors(self, result: Tensor) -> tuple[float, float]:
        """The largest one and the root mean square."""
        difference = self._operands.picked(result) - self._operands.truth
        return float(difference.abs().max()), float(difference.square().mean().sqrt())

    def __call__(self, candidate: Candidate, result: Tensor) -> tuple[float, str]:
        """The largest error, in PyTorch's, and why the result is refused, if it is."""
        if result.shape != self._eager.shape or result.stride() != self._eager.stride():
            return float("inf"), "its shape or layout is wrong"
        largest, rms = self.errors(result)
        mode = current()
        own = candidate.backend != "vendor"
        if own and not largest <= MAX_ERROR[mode] * self._largest + self._ulp:
            why = f"its largest error, {largest:.2g}, is above {MAX_ERROR[mode]} times {self._largest:.2g}"
        elif own and not rms <= RMS_ERROR * self._rms + self._ulp_rms:
            why = f"the root mean square of its errors, {rms:.2g}, is above {RMS_ERROR} times {self._rms:.2g}"
        elif not float((result - self._eager).abs().max()) <= 32 * (self._largest + self._ulp):
            why = "an element is wrong"
        else:
            why = ""
        return round(largest / self._largest, 3), why


def _inputs(p: Problem, axis: int, out: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """The input coordinate that each tap reads for each output coordinate, and whether there is one."""
    stride, padding, dilation, size = p.stride[axis], p.padding[axis], p.dilation[axis], p.x[2 + axis]
    if p.transposed:
        reach = out[:, None] + padding - taps * dilation
        found, exists = reach // stride, (reach >= 0) & (reach % stride == 0)
    else:
        found, exists = out[:, None] * stride - padding + taps * dilation, torch.tensor(True)
    exists = exists & (found >= 0) & (found < size)
    return found.clamp(0, size - 1), exists


def measure(key: str, problem: Problem, epilogue: Epilogue, able: list[Candidate], kept: bool) -> Choice:
    """Measure ``able``, of which the first is eager PyTorch, on a problem like this one."""
    start = time.perf_counter()
    small = cropped(problem)
    able = [able[0], *(c for c in able[1:] if c.supports(small) and c.speed(small) >= WORTH_MEASURING)]
    # A part of the pixels cannot pay for reading a weight that all of them share.
    evicted = small.x[0] == problem.x[0] and small.x[2:] == problem.x[2:]
    runners: dict[str, Runner] = {}
    results: dict[str, Tensor] = {}
    errors: dict[str, float] = {}
    refused: dict[str, str] = {}
    with torch.no_grad():
        operands = Operands(small, epilogue)
        for candidate in able:
            try:
                runners[candidate.name] = Runner(operands, candidate, epilogue, kept, evicted)
                results[candidate.name] = runners[candidate.name]()
            except Exception as error:  # One that fails is one less to choose from.
                if not results:
                    raise
                runners.pop(candidate.name, None)
                refused[candidate.name] = f"{type(error).__name__}: {error}"
        tried = [c for c in able if c.name in results]
        judge = Judge(operands, [results[c.name] for c in tried if c.backend == "vendor"])
        for candidate in tried:
            errors[candidate.name], why = judge(candidate, results[candidate.name])
            if why:
                refused[candidate.name] = why
                del runners[candidate.name]
        # Judging may have taken all of it, where a kernel had to be compiled or other processes run.
        times, settled = _race(runners, able[0].name, max(start + BUDGET, time.perf_counter() + BUDGET / 3))
    eager, best = able[0].name, min(times, key=lambda name: times[name])
    if settled:
        name = best if times[best] <= MARGIN * times[eager] else eager
    else:
        # Other processes only ever add to a time: what is far behind at its best is not the one to take.
        near = [c for c in able if times.get(c.name, math.inf) <= _FAR * times[best]]
        name = max(near, key=lambda c: c.speed(problem)).name
    microseconds = {n: round(t * 1e6, 2) for n, t in times.items()}
    source = "measured" if settled else "disturbed"
    return Choice(key, name, source, microseconds, errors, refused, round(time.perf_counter() - start, 4))


def _race(runners: dict[str, Runner], eager: str, deadline: float) -> tuple[dict[str, float], bool]:
    """The least time of each, in rounds, in which who is far behind is left out; and whether times repeat.

    Where other processes disturb the first rounds, more follow.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    best, settled = eager, False
    for turn in range(_MOST_ROUNDS):
        for name, runner in runners.items():
            # One slow run may be the machine's fault.
            if name == eager or len(times[name]) < 2 or times[name][0] <= _HOPELESS * times[best][0]:
                times[name] = sorted([*times[name], runner.time()])[:2]
        best = min(times, key=lambda name: times[name][0])
        settled = all(len(times[n]) > 1 and times[n][1] <= _SETTLED * times[n][0] for n in (best, eager))
        now = time.perf_counter()
        if now > deadline + (0 if settled else _PATIENCE * BUDGET) or (settled and turn + 1 >= _ROUNDS):
            break
    return {name: found[0] for name, found in times.items()}, settled
