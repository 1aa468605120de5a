"""One class that runs every sampler."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from genfast._progress import track
from genfast.ops import normal_noise
from genfast.ops.sampler_step.coefficients import Coefficient
from genfast.random import Stream
from genfast.samplers import ddim
from genfast.samplers.grid import Grid
from genfast.samplers.guidance import Model, guided, unguided
from genfast.samplers.options import Placement, Run, check_image, check_like, check_range, check_shape, per_sample
from genfast.samplers.program import PREDICTIONS, Program, in_schedule_space, merge
from genfast.samplers.run import Extras, Level, Plan, Step, drain, loop, reported, start
from genfast.samplers.solvers import find
from genfast.schedules import Schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from genfast.samplers.options import RunOptions

_CACHED_PLANS = 32


class Sampler:
    """A diffusion sampler: a solver, the schedule that the model was trained on, and what the model predicts.

    The model is any callable ``model(x, t, **model_kwargs)`` that returns a tensor like x; t holds the model times
    ``[B]``, int64 or float32. Each evaluation is followed by one :func:`genfast.sampler_step`.

    Args:
        name: one of :func:`samplers`.
        schedule: a :class:`Schedule`, or the name of one with its defaults.
        prediction: what the model returns: ``"epsilon"``, ``"v"``, ``"x0"`` or ``"flow"`` (z - x_0); "flow" by
            default for a flow schedule, else "epsilon".
        spacing: where the steps lie, see :func:`genfast.schedules.discretise.discretise`; the sampler's own by default.
        steps_offset, final, original_steps, rho: as there.
        clip: clamp every prediction of x_0 to [-clip, clip].
        dynamic_threshold: a quantile in (0, 1]: clamp the prediction to that quantile s of its magnitudes, s >= 1, and
            divide by s (Saharia et al. 2022, section 2.3).
        threshold_max: the largest s.
        guidance_rescale: phi of Lin et al. 2024, section 3.4, in [0, 1].
        options: of the solver, such as ``eta`` or ``order``.

    Raises:
        TypeError, ValueError: for an unknown sampler or option, or one that does not fit the schedule.
    """

    def __init__(
        self, name: str, schedule: Schedule | str = "linear", prediction: str | None = None, *,
        spacing: str | None = None, steps_offset: int = 0, final: str | None = None, original_steps: int = 50,
        rho: float = 7.0, clip: float | None = None, dynamic_threshold: float | None = None,
        threshold_max: float | None = None, guidance_rescale: float = 0.0, **options: Any,
    ) -> None:  # fmt: skip
        self.solver = find(name)
        self.name = name
        self.schedule = Schedule(schedule) if isinstance(schedule, str) else schedule
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"Sampler: schedule must be a Schedule or the name of one, got {type(schedule).__name__}")
        if self.solver.flow != "yes" and self.schedule.is_flow != (self.solver.flow == "only"):
            wanted = "a flow schedule" if self.solver.flow == "only" else "a schedule of betas"
            raise ValueError(f"Sampler: {name!r} needs {wanted}, got {self.schedule}")
        if prediction is None:
            prediction = "flow" if self.schedule.is_flow else "epsilon"
        if prediction not in PREDICTIONS:
            raise ValueError(f"Sampler: prediction must be one of {', '.join(PREDICTIONS)}, got {prediction!r}")
        self.prediction = prediction
        unknown = sorted(set(options) - set(self.solver.options))
        if unknown:
            known = ", ".join(self.solver.options) or "none"
            raise TypeError(f"Sampler: {name!r} takes no option {unknown[0]!r}; its options are: {known}")
        check_like(self.solver.options, options)
        self.options = {**self.solver.options, **options}
        check_range("clip", clip, 0.0)
        check_range("dynamic_threshold", dynamic_threshold, 0.0, 1.0)
        check_range("threshold_max", threshold_max, 1.0, closed=True)
        check_range("guidance_rescale", guidance_rescale, 0.0, 1.0, closed=True)
        if clip is not None and dynamic_threshold is not None:
            raise ValueError("Sampler: give clip or dynamic_threshold, not both")
        self.clip, self.dynamic_threshold, self.threshold_max = clip, dynamic_threshold, threshold_max
        self.guidance_rescale = guidance_rescale
        self.spacing = self.solver.spacing if spacing is None else spacing
        self._levels: dict[str, Any] = {
            "steps_offset": steps_offset, "final": self.solver.final if final is None else final, "rho": rho,
            "original_steps": original_steps, "drop_last": self.solver.drop_last, "integer": self.solver.integer,
            "finite": self.solver.finite,
        }  # fmt: skip
        self._programs: OrderedDict[tuple[Any, ...], Program] = OrderedDict()
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
        self.program(1)

    def __repr__(self) -> str:
        return f"Sampler({self.name!r}, {self.schedule}, {self.prediction!r})"

    def grid(self, steps: int) -> Grid:
        """The points that ``steps`` steps visit, in the space of the sampler's state (before rescaling)."""
        levels = self.schedule.discretise(steps, self.spacing, **self._levels)
        return Grid.of(self.schedule, levels, self.solver.in_sigma)

    def program(self, steps: int, strength: float = 1.0) -> Program:
        """The rows of ``steps`` steps, of which the last ``int(steps * strength)`` (at least one) are run. Cached."""
        return _cached(self._programs, ("sample", steps, strength), lambda: self._program(steps, strength))

    def _program(self, steps: int, strength: float) -> Program:
        grid = self.grid(steps)
        rows = self.solver.rows(grid.tail(max(1, min(len(grid), int(steps * strength)))), **self.options)
        if self.solver.rescaled:
            in_schedule_space(rows)
        return Program.of(rows, self.prediction, self.clip)

    def _inversion(self, steps: int) -> Program:
        grid = self.grid(steps)
        rows = ddim.inversion(grid, self.prediction)
        if self.solver.rescaled:
            in_schedule_space(rows)
        return Program.of(rows, self.prediction, None)

    def initial_scale(self, steps: int) -> float:
        """The standard deviation of the noise that sampling starts from.

        1 in the space of the schedule. In sigma space the largest sigma, but ``sqrt(sigma^2 + 1)`` with leading
        spacing, which starts below the last training timestep (as in diffusers).
        """
        p = self.program(steps).rows[0].at
        if p.c == 1.0:
            return 1.0
        return (p.s**2 + 1) ** 0.5 if self.spacing == "leading" else p.s

    def sample(self, model: Model, shape: Sequence[int], **run: Unpack[RunOptions]) -> Tensor:
        """Sample images of the shape ``[B, ...]`` from noise; see :class:`RunOptions`."""
        return drain(self.iterate(model, shape, **run), run.get("grad", False))

    def iterate(self, model: Model, shape: Sequence[int], **run: Unpack[RunOptions]) -> Iterator[Step]:
        """:meth:`sample` as a generator that yields a :class:`Step` after every model evaluation."""
        settings = Run.of(run)
        size = check_shape(shape)
        return self._from_noise(model, size, settings, settings.place(model, None), None, None)

    def img2img(
        self, model: Model, image: Tensor, strength: float | Sequence[float] = 0.8, **run: Unpack[RunOptions]
    ) -> Tensor:
        """Noise an image ``[B, ...]`` to the level where ``strength`` of the steps are left, and sample from there.

        strength is in (0, 1], one number or one per sample (Meng et al. 2022, SDEdit). See :class:`RunOptions`.
        """
        settings = Run.of(run)
        check_image("image", image)
        if settings.x_T is not None:
            raise ValueError("Sampler.img2img: x_T is made from the image; to start from a state, use sample")
        place = settings.place(model, image)
        batch = image.shape[0]
        strengths = per_sample("strength", strength, batch, float)
        for value in strengths:
            if not 0 < value <= 1:
                raise ValueError(f"Sampler.img2img: strength must be in (0, 1], got {value}")
        members = list(zip(per_sample("steps", settings.steps, batch, int), strengths, strict=True))
        plan = self._plan(members, settings, place, batch)
        points = [self.program(*member).rows[0].at for member in members]
        x, model_input = _start(image, [Level(p.a, p.s, p.c) for p in points], settings, place, settings.noise)
        return drain(self._run(model, x, model_input, plan, settings, place, Extras()), settings.grad)

    def inpaint(self, model: Model, image: Tensor, mask: Tensor, **run: Unpack[RunOptions]) -> Tensor:
        """Paint where ``mask`` is 1 and keep the image ``[B, ...]`` where it is 0.

        After every step the known region is replaced by the image, noised afresh to that step's level (Lugmayr et
        al. 2022, eq. 8), in the same kernel; the last level is the image itself, but with ``final="sigma_min"``. mask
        broadcasts to the image. See :class:`RunOptions`.
        """
        settings = Run.of(run)
        check_image("image", image)
        if settings.step_noise is not None or settings.noise is not None or settings.x_T is not None:
            raise ValueError("Sampler.inpaint: all noise comes from seeds; give no noise, step_noise or x_T")
        place = settings.place(model, image)
        if not isinstance(mask, Tensor):
            raise TypeError(f"Sampler.inpaint: mask must be a tensor, got {type(mask).__name__}")
        try:
            mask = mask.to(place.device, place.dtype).expand_as(image)
        except RuntimeError:
            raise ValueError(
                f"Sampler.inpaint: mask must broadcast to the image, {list(image.shape)}, got {list(mask.shape)}"
            ) from None
        known = image.to(place.device, place.dtype)
        mask = torch.empty_like(known).copy_(mask)
        return drain(self._from_noise(model, tuple(image.shape), settings, place, known, mask), settings.grad)

    def invert(self, model: Model, image: Tensor, **run: Unpack[RunOptions]) -> Tensor:
        """The state that this sampler's deterministic ODE carries to the image: DDIM inversion (Song et al. 2021).

        Give it to :meth:`sample` as ``x_T`` with the same steps. The more steps, the closer the round trip.
        Guidance is used as given; 1 inverts best.
        """
        settings = Run.of(run)
        check_image("image", image)
        if settings.step_noise is not None or settings.noise is not None or settings.x_T is not None:
            raise ValueError("Sampler.invert: an inversion takes no noise, step_noise or x_T")
        place = settings.place(model, image)
        batch = image.shape[0]
        steps = per_sample("steps", settings.steps, batch, int)
        plan = self._plan([(n, None) for n in steps], settings, place, batch)
        points = [self._member(n, None).rows[0].at for n in steps]
        x, model_input = _start(image, [Level(1.0, 0.0, p.c) for p in points], settings, place)
        return drain(self._run(model, x, model_input, plan, settings, place, Extras()), settings.grad)

    def _from_noise(
        self, model: Model, shape: tuple[int, ...], settings: Run, place: Placement, known: Tensor | None,
        mask: Tensor | None,
    ) -> Iterator[Step]:  # fmt: skip
        batch = shape[0]
        steps = per_sample("steps", settings.steps, batch, int)
        plan = self._plan([(n, 1.0) for n in steps], settings, place, batch)
        points = [self.program(n).rows[0].at for n in steps]
        scales = [self.initial_scale(n) for n in steps]
        state = settings.x_T
        if state is None:
            state = settings.noise
            if state is None:
                state = normal_noise(
                    shape, settings.seed_values(batch, place.device), stream=Stream.INITIAL, dtype=place.dtype,
                    device=place.device, memory_format=settings.memory_format,
                )  # fmt: skip
        else:
            scales = [1.0] * batch
        given = "x_T" if settings.x_T is not None else "noise"
        if not isinstance(state, Tensor) or state.shape != shape:
            got = list(state.shape) if isinstance(state, Tensor) else type(state).__name__
            raise ValueError(f"Sampler: {given} must be a tensor {list(shape)}, got {got}")
        levels = [Level(scale, 0.0, p.c, p.a, p.s) for scale, p in zip(scales, points, strict=True)]
        if known is None and all(level.scale == level.c == 1.0 for level in levels):
            x = state.to(place.device, place.dtype)
            model_input = x.to(place.model_dtype)
        else:
            x, model_input = _start(state, levels, settings, place, None, known, mask)
        return self._run(model, x, model_input, plan, settings, place, Extras(known=known, mask=mask))

    def _member(self, steps: int, strength: float | None) -> Program:
        if strength is not None:
            return self.program(steps, strength)
        return _cached(self._programs, ("invert", steps), lambda: self._inversion(steps))

    def _plan(self, members: list[tuple[int, Any]], settings: Run, place: Placement, batch: int) -> Plan:
        scales = tuple(per_sample("guidance", settings.guidance, batch, float))
        if len(set(scales)) == 1:
            scales = scales[:1]
        whole = members[:1] if len(set(members)) == 1 else members
        key = (tuple(whole), scales, batch, place.device, place.dtype)
        # What is cached outlives an inference mode, whose tensors autograd refuses.
        with torch.inference_mode(False):
            return _cached(self._plans, key, lambda: self._make_plan(members, scales, batch, place))

    def _make_plan(
        self, members: list[tuple[int, Any]], scales: tuple[float, ...], batch: int, place: Placement
    ) -> Plan:
        distinct = list(dict.fromkeys(members))
        programs = [self._member(*member) for member in distinct]
        merged = merge(programs, [distinct.index(member) for member in members])
        values = torch.from_numpy(merged.table.copy())
        if len(scales) > 1 and values.dim() == 2:
            values = values[:, None].repeat(1, batch, 1)
        values[..., Coefficient.GUIDANCE] = torch.tensor(scales, dtype=torch.float64).squeeze()
        lengths = [len(self._member(*member).rows) for member in members]
        if len(distinct) > 1:
            # What guidance would make infinite may not reach a finished sample, not even times 0.
            for b, length in enumerate(lengths):
                values[length:, b, Coefficient.GUIDANCE] = 0.0
        wide = torch.float64 if place.dtype == torch.float64 else torch.float32
        times = torch.from_numpy(merged.times).to(torch.int64 if self._integer else torch.float32)
        return Plan.of(
            merged, values.to(place.device, wide), times.expand(-1, batch).contiguous().to(place.device), lengths
        )  # fmt: skip

    @property
    def _integer(self) -> bool:
        return self.solver.integer and not self.schedule.is_flow

    def _run(
        self, model: Model, x: Tensor, model_input: Tensor, plan: Plan, settings: Run, place: Placement, extras: Extras
    ) -> Iterator[Step]:
        batch = x.shape[0]
        extras.scales = per_sample("guidance", settings.guidance, batch, float)
        cond = settings.model_kwargs or {}
        if all(scale == 1.0 for scale in extras.scales):
            call = unguided(model, cond)
        elif settings.uncond_kwargs is None:
            raise ValueError("Sampler: guidance other than 1 needs uncond_kwargs, the model's unconditional arguments")
        else:
            call = guided(model, cond, settings.uncond_kwargs, batch, settings.batched_guidance)
        extras.seeds = None if settings.step_noise is not None else settings.seed_values(batch, place.device)
        extras.step_noise = settings.step_noise
        extras.rescale = self.guidance_rescale
        extras.quantile, extras.largest = self.dynamic_threshold, self.threshold_max
        steps = loop(call, x, model_input, plan, place.model_dtype, extras, settings.grad)
        if settings.progress:
            steps = track(steps, len(plan.actions), self.name)
        return steps if settings.callback is None else reported(steps, settings.callback)


def _start(
    given: Tensor, levels: list[Level], settings: Run, place: Placement, noise: Tensor | None = None,
    known: Tensor | None = None, mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    given = given.to(place.device, place.dtype)
    needs_seeds = noise is None and (known is not None or any(level.noise for level in levels))
    seeds = settings.seed_values(given.shape[0], place.device) if needs_seeds else None
    with torch.set_grad_enabled(settings.grad and torch.is_grad_enabled()):
        return start(given, levels, place.model_dtype, seeds, noise, known, mask)


def _cached(store: OrderedDict[tuple[Any, ...], Any], key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    if key in store:
        store.move_to_end(key)
        return store[key]
    value = store[key] = make()
    while len(store) > _CACHED_PLANS:
        store.popitem(last=False)
    return value
