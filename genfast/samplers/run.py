"""The loop of every sampler: a model evaluation, then one kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfast.ops import sampler_step
from genfast.ops.sampler_step.coefficients import WIDTH, Coefficient
from genfast.random import Seeds, Stream
from genfast.samplers.guidance import rescale_factors, threshold_limits
from genfast.samplers.program import Merged, Saved, entry, state


class Step:
    """One row of a sampler's program, after it has run.

    Attributes:
        x: the new state ``[B, ...]``, in the space of the sampler. Assign another tensor like it, and the trajectory
            goes on from there; do not change it in place, for the model input is already made.
        index: the row, from 0 to ``total - 1``; methods of several stages take several rows to a step.
        total: how many rows there are.
        t: the model times ``[B]`` that the model was evaluated at.
    """

    __slots__ = ("_evaluation", "_x0", "index", "t", "total", "x")

    def __init__(self, x: Tensor, index: int, total: int, t: Tensor, evaluation: tuple[Any, ...]) -> None:
        self.x, self.index, self.total, self.t = x, index, total, t
        self._evaluation = evaluation
        self._x0: Tensor | None = None

    @property
    def x0(self) -> Tensor:
        """The prediction of the clean image that led to ``x``, computed when first asked for."""
        if self._x0 is None:
            x, output, plan, uncond, scale, limits = self._evaluation
            self._x0 = sampler_step(
                x, output, plan.preview, self.index, uncond=uncond, model_scale=scale, threshold=limits
            ).x
        return self._x0


class Action(NamedTuple):
    """What a row does beside its kernel: which saved tensors it takes, keeps and lets go, and whether it adds noise."""

    uses: tuple[Saved, ...]
    drops: tuple[Saved, ...]
    entry: Saved | None
    state: Saved | None
    noisy: bool


@dataclass(frozen=True)
class Plan:
    """A merged program on its device.

    Attributes:
        table: the coefficients as the kernel takes them, with guidance.
        times: model times ``[R, B]``.
        actions: one for each row.
        scaled: whether the model input is ever anything but the state.
        lengths: rows of each sample's own program.
    """

    table: Tensor
    times: Tensor
    actions: list[Action]
    scaled: bool
    lengths: list[int]

    @classmethod
    def of(cls, merged: Merged, table: Tensor, times: Tensor, lengths: list[int]) -> Plan:
        """A merged program with its table and its model times."""
        actions = []
        for row, (keeps_entry, keeps_state) in enumerate(merged.keeps):
            kept = entry(row) if keeps_entry else None, state(row) if keeps_state else None
            actions.append(Action(merged.uses[row], merged.drops[row], *kept, merged.noisy[row]))
        return cls(table, times, actions, bool((merged.table[..., Coefficient.C_IN] != 1).any()), lengths)

    @cached_property
    def preview(self) -> Tensor:
        """A table whose rows give x0 in place of the next state, and of a finished sample the state."""
        same = [Coefficient.A_X, Coefficient.A_M, Coefficient.CLAMP, Coefficient.GUIDANCE]
        with torch.inference_mode(False):
            preview = torch.zeros_like(self.table)
            preview[..., same] = self.table[..., same]
            preview[..., Coefficient.B_0] = 1.0
            preview[..., Coefficient.B_X] = (preview[..., same[:2]] == 0).all(-1).to(preview.dtype)
        return preview


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


_AS_IT_IS = nullcontext()


def loop(
    call: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]], x: Tensor, model_input: Tensor, plan: Plan,
    model_dtype: torch.dtype, extras: Extras, grad: bool,
) -> Iterator[Step]:  # fmt: skip
    """Run a plan from the state ``x``, whose model input is ``model_input``, and yield every row."""
    table, total = plan.table, len(plan.actions)
    wide = table.dtype
    input_dtype = model_dtype if plan.scaled or model_dtype != x.dtype else None
    saved: dict[Saved, Tensor] = {}
    known, mask, step_noise = extras.known, extras.mask, extras.step_noise
    scale = limits = noise = None
    # A copy, because a model that changes its times in place would change those of every later run.
    times = plan.times.clone().unbind(0)
    for row, action in enumerate(plan.actions):
        t = times[row]
        # A generator must not leave gradients switched off for whoever reads it between two rows.
        with _AS_IT_IS if grad or not torch.is_grad_enabled() else torch.no_grad():
            output, uncond = call(model_input, t)
            if extras.rescale and uncond is not None and extras.scales is not None:
                going = [row < length for length in plan.lengths]
                scale = rescale_factors(output, uncond, extras.scales, extras.rescale, going, wide)
            if extras.quantile is not None:
                x0 = sampler_step(x, output, plan.preview, row, uncond=uncond, model_scale=scale).x
                limits = threshold_limits(x0, extras.quantile, extras.largest, wide)
            if mask is not None:
                mask = _freeze_finished(mask, row, plan)
            if step_noise is not None:
                noise = step_noise(row, x) if action.noisy else None
            result = sampler_step(
                x, output, table, row, uncond=uncond, history=[saved[key] for key in action.uses], noise=noise,
                seeds=extras.seeds if action.noisy or known is not None else None, model_scale=scale,
                threshold=limits, known=known, mask=mask, return_history=action.entry is not None,
                model_input_dtype=input_dtype if row + 1 < total else None,
            )  # fmt: skip
        for key in action.drops:
            del saved[key]
        if action.state is not None:
            saved[action.state] = x
        if action.entry is not None and result.history is not None:
            saved[action.entry] = result.history
        evaluation = (x, output, plan, uncond, scale, limits)
        x = result.x
        model_input = x if result.model_input is None else result.model_input
        step = Step(x, row, total, t, evaluation)
        yield step
        if step.x is not x:
            _check_edited(step.x, x)
            x = model_input = step.x
            if input_dtype is not None:
                c_in = table[row, ..., Coefficient.C_IN].view(-1, *[1] * (x.dim() - 1))
                with _AS_IT_IS if grad or not torch.is_grad_enabled() else torch.no_grad():
                    model_input = (x.to(wide) * c_in).to(model_dtype)


def _check_edited(new: object, old: Tensor) -> None:
    wanted = old.shape, old.dtype, old.device
    found = (new.shape, new.dtype, new.device) if isinstance(new, Tensor) else type(new).__name__
    if found != wanted:
        raise ValueError(
            f"Sampler: Step.x must stay a tensor {list(old.shape)}, {old.dtype} on {old.device}, got {found}"
        )


def reported(steps: Iterator[Step], callback: Callable[[Step], object]) -> Iterator[Step]:
    """The steps, each shown to ``callback`` first."""
    for step in steps:
        callback(step)
        yield step


def drain(steps: Iterator[Step], grad: bool) -> Tensor:
    """The last state of a run."""
    x = None
    with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
        for step in steps:
            x = step.x
    assert x is not None
    return x


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
