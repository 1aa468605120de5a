"""The loop of every sampler: a model evaluation, then one kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from genfast.ops import sampler_step
from genfast.ops.sampler_step.coefficients import WIDTH, Coefficient
from genfast.random import Seeds, Stream
from genfast.samplers.guidance import rescale_factors, threshold_limits
from genfast.samplers.program import Merged, Saved


class Step:
    """One row of a sampler's program, after it has run.

    Attributes:
        x: the new state ``[B, ...]``, in the space of the sampler.
        index: the row, from 0 to ``total - 1``; methods of several stages take several rows to a step.
        total: how many rows there are.
        t: the model times ``[B]`` that the model was evaluated at.
    """

    __slots__ = ("_predict", "_x0", "index", "t", "total", "x")

    def __init__(self, x: Tensor, index: int, total: int, t: Tensor, predict: Callable[[], Tensor]) -> None:
        self.x, self.index, self.total, self.t = x, index, total, t
        self._predict = predict
        self._x0: Tensor | None = None

    @property
    def x0(self) -> Tensor:
        """The prediction of the clean image that led to ``x``, computed when first asked for."""
        if self._x0 is None:
            self._x0 = self._predict()
        return self._x0


@dataclass
class Plan:
    """A merged program on its device.

    Attributes:
        merged: the rows.
        table: the coefficients as the kernel takes them, with guidance.
        times: model times ``[R, B]`` in the dtype the model is fed.
        lengths: rows of each sample's own program.
    """

    merged: Merged
    table: Tensor
    times: Tensor
    lengths: list[int]


@dataclass
class Extras:
    """What may go into a step beside the table: see the arguments of :func:`genfast.sampler_step`."""

    seeds: Seeds | None = None
    step_noise: Callable[[int, Tensor], Tensor] | None = None
    known: Tensor | None = None
    mask: Tensor | None = None
    scales: list[float] | None = None
    rescale: float = 0.0
    quantile: float | None = None
    largest: float | None = None


def preview_table(table: Tensor) -> Tensor:
    """A table whose rows give x0 in place of the next state."""
    preview = torch.zeros_like(table)
    same = [Coefficient.A_X, Coefficient.A_M, Coefficient.CLAMP, Coefficient.GUIDANCE]
    preview[..., same] = table[..., same]
    preview[..., Coefficient.B_0] = 1.0
    return preview


def loop(
    call: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]], x: Tensor, model_input: Tensor, plan: Plan,
    model_dtype: torch.dtype, extras: Extras, grad: bool,
) -> Iterator[Step]:  # fmt: skip
    """Run a plan from the state ``x``, whose model input is ``model_input``, and yield every row."""
    merged, table = plan.merged, plan.table
    total = table.shape[0]
    times = plan.times.unbind(0)
    preview = preview_table(table)
    wide = table.dtype
    scaled = bool((merged.table[..., Coefficient.C_IN] != 1).any()) or model_dtype != x.dtype
    saved: dict[Saved, Tensor] = {}
    known, mask = extras.known, extras.mask
    for row in range(total):
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
            output, uncond = call(model_input, times[row])
            scale = None
            if extras.rescale and uncond is not None and extras.scales is not None:
                scale = rescale_factors(output, uncond, extras.scales, extras.rescale, wide)
            limits = None
            if extras.quantile is not None:
                x0 = sampler_step(x, output, preview, row, uncond=uncond, model_scale=scale).x
                limits = threshold_limits(x0, extras.quantile, extras.largest, wide)
            if mask is not None:
                mask = _freeze_finished(mask, row, plan)
            noise = extras.step_noise(row, x) if extras.step_noise is not None and merged.noisy[row] else None
            keep_entry, keep_state = merged.keeps[row]
            result = sampler_step(
                x, output, table, row, uncond=uncond, history=[saved[key] for key in merged.uses[row]],
                noise=noise, seeds=extras.seeds if merged.noisy[row] or known is not None else None,
                model_scale=scale, threshold=limits, known=known, mask=mask, return_history=keep_entry,
                model_input_dtype=model_dtype if scaled and row + 1 < total else None,
            )  # fmt: skip
            for key in merged.drops[row]:
                del saved[key]
            if keep_state:
                saved[Saved("state", row)] = x
            if result.history is not None:
                saved[Saved("entry", row)] = result.history
        before, x = x, result.x
        model_input = x if result.model_input is None else result.model_input
        predict = _predictor(before, output, preview, row, uncond, scale, limits)
        yield Step(x, row, total, times[row], predict)


def _predictor(
    x: Tensor, output: Tensor, preview: Tensor, row: int, uncond: Tensor | None, scale: Tensor | None,
    limits: Tensor | None,
) -> Callable[[], Tensor]:  # fmt: skip
    def predict() -> Tensor:
        return sampler_step(x, output, preview, row, uncond=uncond, model_scale=scale, threshold=limits).x

    return predict


def _freeze_finished(mask: Tensor, row: int, plan: Plan) -> Tensor:
    """Mark finished samples as all to be painted, which their rows do by the identity: to blend again rounds again."""
    finished = [b for b, length in enumerate(plan.lengths) if length == row]
    if not finished:
        return mask
    mask = mask.clone()
    mask[finished] = 1
    return mask


class Level(NamedTuple):
    """How a sample starts: at ``scale * given + noise * z``, the known region at ``a * known + s * z``; c is C_IN."""

    scale: float
    noise: float
    c: float
    a: float = 0.0
    s: float = 0.0


def start(
    given: Tensor, levels: list[Level], model_dtype: torch.dtype, seeds: Seeds | None, noise: Tensor | None,
    known: Tensor | None, mask: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The first state and the first model input, in one kernel."""
    wide = torch.float64 if given.dtype == torch.float64 else torch.float32
    distinct = levels[:1] if len(set(levels)) == 1 else levels
    table = torch.zeros(1, len(distinct), WIDTH, dtype=torch.float64)
    table[..., Coefficient.CLAMP] = torch.inf
    columns = [Coefficient.B_X, Coefficient.S, Coefficient.C_IN, Coefficient.K_0, Coefficient.K_S]
    table[0, :, columns] = torch.tensor(distinct, dtype=torch.float64)
    # Known regions draw at stream + INPAINT - STEP, which from INITIAL would be the noise of the first step.
    stream = Stream.INITIAL if known is None else Stream.INPAINT
    result = sampler_step(
        given, given, table.to(given.device, wide), 0, seeds=seeds, noise=noise, stream=stream, known=known, mask=mask,
        model_input_dtype=model_dtype,
    )  # fmt: skip
    assert result.model_input is not None
    return result.x, result.model_input
