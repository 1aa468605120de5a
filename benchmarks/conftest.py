"""What the benchmarks share: one test for each case and contender, verified before it is timed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from genfast.bench import Case, Contender, Settings, Unavailable, cases, verify
from genfast.bench.case import simple
from genfast.bench.runner import GENFAST, CaseRun, gradients

SETTINGS = Settings(device=torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give ``bench_<op>`` the quick cases of its suite, each with every contender."""
    if "contender" not in metafunc.fixturenames:
        return
    suite = metafunc.function.__name__.removeprefix("bench_")
    pairs = [
        pytest.param(case, contender, id=f"{case.label} {case.mode} {case.cache} {contender.name}".replace(" ", "-"))
        for case in cases(suite, SETTINGS.device, quick=True)
        for contender in (Contender(GENFAST, simple(case.call), case.prepare), *case.baselines)
        if not contender.compiled
    ]
    metafunc.parametrize(("case", "contender"), pairs)


@pytest.fixture
def measure(benchmark: Any) -> Any:
    """Verify a contender against float64, then hand it to pytest-benchmark."""

    def run(case: Case, contender: Contender) -> None:
        one = CaseRun(case, SETTINGS)
        try:
            function = contender.build()
        except Unavailable as error:
            pytest.skip(str(error))
        inputs = one.fresh()
        with gradients(case.mode, contender.inference):
            if contender.name == GENFAST:
                check = verify.genfast(case, function, case.eager.build(), inputs)
            else:
                check = verify.baseline(case, contender, function, inputs)
            assert check.ok, check.reason
            benchmark.group = f"{case.op} {case.label} {case.mode}"
            args = inputs if contender.prepare is None else contender.prepare(*inputs)
            benchmark(synchronised(function), *args)

    return run


def synchronised(function: Any) -> Any:
    """``function``, with a wait for its end on a GPU, because pytest-benchmark has the host's clock."""
    if SETTINGS.device.type == "cpu":
        return function

    def call(*args: Any) -> None:
        function(*args)
        torch.cuda.synchronize()

    return call
