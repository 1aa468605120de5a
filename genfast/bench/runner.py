"""Run a case: build, verify, time, verify again, and write it down."""

from __future__ import annotations

import functools
import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from genfast.backend import choose
from genfast.bench import machine, memory, timing, verify
from genfast.bench.case import Case, Contender, Inputs, Unavailable
from genfast.bench.record import FAILED, OK, UNAVAILABLE, Record
from genfast.bench.shares import shares_of_ops

GENFAST = "genfast"
LEFT_OUT = "left out of a quick run"
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Settings:
    """How long to measure: up to ``rounds`` of at least ``seconds`` per contender, ending after ``budget`` seconds.

    ``compiled`` says whether torch.compile is among the baselines; ``clock`` makes the runs.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rounds: int = 15
    seconds: float = 3e-3
    budget: float = 8.0
    compiled: bool = True
    seed: int = 0
    clock: Callable[..., timing.Run] = timing.runner


@dataclass
class _Built:
    contender: Contender
    function: Callable[..., Any] | None = None
    compile_s: float | None = None
    status: str = OK
    note: str = ""
    error: float | None = None
    peak: int | None = None

    def fail(self, status: str, note: str) -> None:
        self.status, self.note, self.function = status, note, None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextmanager
def gradients(mode: str, inference: bool) -> Iterator[None]:
    """Forward cases run as samplers run: without gradients, or in inference mode for the best eager."""
    context: AbstractContextManager[Any]
    if mode != "forward":
        context = torch.enable_grad()
    else:
        context = torch.inference_mode() if inference else torch.no_grad()
    with context:
        yield


def _no_recompiles() -> AbstractContextManager[Any]:
    """A compiled contender that compiles again while it is timed is an error, not a slow call."""
    config = getattr(torch._dynamo, "config", None)
    if config is None or not hasattr(config, "error_on_recompile"):
        return nullcontext()
    return config.patch(error_on_recompile=True)


def _in_context(function: Callable[..., Any], case: Case, contender: Contender) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with gradients(case.mode, contender.inference):
            return function(*args, **kwargs)

    return call


class CaseRun:
    """One case on one machine. :meth:`records` does all of it."""

    def __init__(self, case: Case, settings: Settings) -> None:
        self.case, self.settings = case, settings
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.genfast = Contender(GENFAST, lambda: case.call, case.prepare)

    def fresh(self) -> Inputs:
        return self.case.make(self.generator, self.settings.device)

    def _build(self, contender: Contender) -> _Built:
        built = _Built(contender)
        if contender.compiled and not self.settings.compiled:
            built.fail(UNAVAILABLE, LEFT_OUT)
            return built
        inputs = self.fresh()
        try:
            start = time.perf_counter()
            built.function = contender.build()
            if contender.compiled:
                args = inputs if contender.prepare is None else contender.prepare(*inputs)
                with gradients(self.case.mode, contender.inference):
                    built.function(*args)
                if self.settings.device.type == "cuda":
                    torch.cuda.synchronize(self.settings.device)
                built.compile_s = time.perf_counter() - start
        except Unavailable as error:
            built.fail(UNAVAILABLE, str(error))
        except Exception as error:  # a baseline that cannot run is reported, and stops nothing
            built.fail(UNAVAILABLE, _first_line(error))
        return built

    def _verify(self, built: list[_Built], mine: _Built) -> None:
        eager = built[0]
        inputs, case = self.fresh(), verify.remember(self.case)
        for one in built:
            if one.function is None:
                continue
            try:
                check = verify.baseline(case, one.contender, _in_context(one.function, case, one.contender), inputs)
            except Exception as error:
                one.fail(UNAVAILABLE, _first_line(error))
                continue
            one.error = max(check.max_error, one.error or 0.0)
            if not check.ok:
                one.fail(FAILED, check.reason)
        if eager.function is None:
            mine.fail(FAILED, f"nothing to verify with: {eager.note}")
        if mine.function is None:
            return
        assert eager.function is not None
        try:
            own = _in_context(mine.function, case, mine.contender)
            check = verify.genfast(case, own, _in_context(eager.function, case, eager.contender), inputs)
        except Exception as error:
            mine.fail(FAILED, _first_line(error))
            return
        mine.error = max(check.max_error, mine.error or 0.0)
        if not check.ok:
            mine.fail(FAILED, check.reason)

    def _sets(self) -> int:
        if self.case.cache == "warm":
            return 1
        needed = 2 * machine.last_level_cache(self.settings.device)
        return max(2, math.ceil(needed / max(self.case.bytes, 1)))

    def _time(self, contenders: list[_Built]) -> dict[str, timing.Timing]:
        device, case = self.settings.device, self.case
        count = self._sets()
        sets = [self.fresh() for _ in range(count)]
        runs: dict[str, timing.Run] = {}
        for one in contenders:
            if one.function is None:
                continue
            prepare = one.contender.prepare
            prepared = sets if prepare is None else [prepare(*inputs) for inputs in sets]
            run = self.settings.clock(one.function, prepared, device)
            runs[one.contender.name] = self._guarded(run, one)
        streams = timing.stream_contenders(case.bytes, count, device) if case.bytes else {}
        for name, (function, buffers) in streams.items():
            runs[f"limit:{name}"] = self.settings.clock(function, buffers, device)
        with _no_recompiles():
            for one in contenders:
                name = one.contender.name
                try:
                    if name in runs:
                        runs[name](1)
                except Exception as error:
                    one.fail(UNAVAILABLE, _first_line(error))
                    del runs[name]
            return timing.interleave(runs, self.settings.rounds, self.settings.seconds, count + 1, self.settings.budget)

    def _guarded(self, run: timing.Run, one: _Built) -> timing.Run:
        def guarded(count: int) -> float:
            with gradients(self.case.mode, one.contender.inference):
                return run(count)

        return guarded

    def _measure_memory(self, contenders: list[_Built]) -> None:
        inputs = self.fresh()
        for one in contenders:
            if one.function is None:
                continue
            args = inputs if one.contender.prepare is None else one.contender.prepare(*inputs)
            call = functools.partial(_in_context(one.function, self.case, one.contender), *args)
            one.peak = memory.peak_bytes_on(call, self.settings.device)

    def records(self) -> list[Record]:
        """Every baseline beside the case, as records."""
        case = self.case
        torch.manual_seed(self.settings.seed)
        if self.settings.compiled:
            torch._dynamo.reset()
        mine = _Built(self.genfast, case.call)
        built = [self._build(c) for c in case.baselines]
        self._verify(built, mine)
        times: dict[str, timing.Timing] = {}
        if mine.function is not None:
            collecting = gc.isenabled()
            gc.disable()
            try:
                times = self._time([mine, *built])
            finally:
                if collecting:
                    gc.enable()
            self._verify(built, mine)
            if case.memory:
                self._measure_memory([mine, *built])
        found = [self._record(mine, one, times) for one in built]
        if not case.shares or mine.function is None:
            return found
        shares = shares_of_ops(functools.partial(_in_context(mine.function, case, mine.contender), *self.fresh()))
        large = {name: round(share, 3) for name, share in shares.items() if share >= _LEAST_SHARE}
        return [replace(record, op_shares=large) for record in found]

    def _record(self, mine: _Built, one: _Built, times: dict[str, timing.Timing]) -> Record:
        case, device = self.case, self.settings.device
        status, note = (mine.status, mine.note) if mine.status != OK else (one.status, one.note)
        own = times.get(GENFAST) if mine.status == OK else None
        theirs = times.get(one.contender.name) if one.status == OK and own is not None else None
        share = share_of_copy = None
        if own is not None and case.bytes:
            copied = times[f"limit:{timing.COPY}"].best
            share = min(timed.best for name, timed in times.items() if name.startswith("limit:")) / own.median
            share_of_copy = copied / own.median

        def us(found: timing.Timing | None, name: str) -> float | None:
            return None if found is None else getattr(found, name) * 1e6

        return Record(
            op=case.op, case=case.label, variant=case.variant, shape=case.shape, dtype=case.dtype_name,
            mode=case.mode, cache=case.cache, backend=choose(case.op, device), baseline=one.contender.name,
            status=status, note=note,
            median_us=us(own, "median"), p20_us=us(own, "p20"), p80_us=us(own, "p80"),
            baseline_median_us=us(theirs, "median"), baseline_p20_us=us(theirs, "p20"),
            baseline_p80_us=us(theirs, "p80"),
            speedup=None if own is None or theirs is None else theirs.median / own.median,
            max_error=mine.error, baseline_max_error=one.error,
            bytes=case.bytes, flops=case.flops, share_of_limit=share, share_of_copy=share_of_copy,
            ns_per_element=None if own is None else own.median * 1e9 / max(case.numel, 1),
            compile_s=one.compile_s, peak_bytes=mine.peak, baseline_peak_bytes=one.peak, **machine.facts(device),
        )  # fmt: skip


def run_case(case: Case, settings: Settings) -> list[Record]:
    """Measure one case; see :class:`CaseRun`."""
    return CaseRun(case, settings).records()
