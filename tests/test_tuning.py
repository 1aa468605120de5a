"""The autotuner: what it measures, refuses, remembers, and what overrides it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import genfast
from genfast import tuning
from genfast.ops._conv import choose, measure
from genfast.ops._conv.measure import Runner
from genfast.ops._conv.problem import Candidate, Epilogue, Problem
from genfast.ops._conv.vendor import Eager


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    tuning.clear()
    tuning.unpin()
    yield
    tuning.enable()
    tuning.unpin()
    tuning.clear()


class Fake(Eager):
    """PyTorch's convolution, with something added; it takes ``delay``, on a clock that no other process disturbs."""

    def __init__(self, name: str, delay: float = 0.0, change: Any = None, speed: float = 0.9) -> None:
        self.name, self.delay, self.change, self.guess = name, delay, change, speed
        self.backend = "cpu"
        self.runs = 0

    def speed(self, problem: Problem) -> float:
        return self.guess

    def bind(self, problem: Problem, epilogue: Epilogue) -> Any:
        eager = super().bind(problem, epilogue)

        def run(*tensors: Tensor | None) -> Tensor:
            self.runs += 1
            out = eager(*tensors)
            return self.change(out) if self.change else out

        return run


class Slow(Fake):
    """Stands for PyTorch's."""

    def __init__(self, delay: float = 0.003) -> None:
        super().__init__("eager", delay, speed=1.0)
        self.backend = "vendor"


def with_candidates(monkeypatch: pytest.MonkeyPatch, *candidates: Candidate) -> None:
    def passed(self: Runner) -> float:
        self()
        return self.candidate.delay  # type: ignore[attr-defined]

    monkeypatch.setattr(Runner, "time", passed)
    monkeypatch.setattr(choose, "candidates", lambda: candidates)
    # Judging is not on that clock.
    monkeypatch.setattr(measure, "BUDGET", 30.0)
    tuning.clear()


X = torch.ones(1, 16, 24, 24)
W = torch.nn.Parameter(torch.full((16, 16, 3, 3), 0.1), requires_grad=False)


def call() -> Tensor:
    return genfast.conv2d_act(X, W, act="linear")


def test_the_fastest_right_one_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slower = Fake("fast"), Fake("slower", 0.002)
    with_candidates(monkeypatch, Slow(), slower, fast)
    call()
    (choice,) = tuning.choices()
    assert choice.name == "fast" and choice.source == "measured"
    assert choice.times["fast"] < choice.times["slower"] < choice.times["eager"]
    runs = slower.runs, fast.runs
    call()
    assert (slower.runs, fast.runs) == (runs[0], runs[1] + 1)
    assert tuning.choices() == [choice]


def wrong_everywhere(out: Tensor) -> Tensor:
    return out + 0.01


def wrong_somewhere(out: Tensor) -> Tensor:
    out[0, 7, 11, 13] += 1.0
    return out


def unwritten(out: Tensor) -> Tensor:
    out[0, 3, 2, 1] = torch.nan
    return out


def inexact(out: Tensor) -> Tensor:
    return out * (1 + 1e-5)


@pytest.mark.parametrize("change", [wrong_everywhere, wrong_somewhere, unwritten, inexact])
def test_a_wrong_candidate_is_refused(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    with_candidates(monkeypatch, Slow(), Fake("wrong", change=change))
    call()
    (choice,) = tuning.choices()
    assert choice.name == "eager" and "wrong" not in choice.times
    assert "error" in choice.refused["wrong"] or "wrong" in choice.refused["wrong"]


def test_a_candidate_that_fails_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(out: Tensor) -> Tensor:
        raise RuntimeError("no such instruction")

    def turn(out: Tensor) -> Tensor:
        return out.contiguous(memory_format=torch.channels_last)

    with_candidates(monkeypatch, Slow(), Fake("failing", change=fail), Fake("turned", change=turn))
    call()
    (choice,) = tuning.choices()
    assert choice.name == "eager"
    assert choice.refused == {
        "failing": "RuntimeError: no such instruction", "turned": "its shape or layout is wrong"
    }  # fmt: skip


def test_never_slower_than_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    with_candidates(monkeypatch, Slow(0.002), Fake("same", 0.00199), Fake("slower", 0.0025))
    call()
    assert tuning.choices()[0].name == "eager"


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, hopeless = Fake("slow", 0.001), Fake("hopeless", 0.002)
    with_candidates(monkeypatch, Slow(0.0012), slow, hopeless)
    call()
    # One run to judge it; then two to time it, and no more where both are far behind.
    assert hopeless.runs == 3 < slow.runs
    tuning.clear()
    slow.runs = 0
    monkeypatch.setattr(measure, "BUDGET", 0.0)
    call()
    # One run each; and the call itself.
    assert slow.runs <= 2 + 1


def test_times_that_do_not_repeat_decide_only_against_what_is_far_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    favoured = Fake("far behind", speed=2.0)
    with_candidates(
        monkeypatch, Slow(), favoured, Fake("guessed", speed=1.5), Fake("lucky"), Fake("wrong", change=unwritten)
    )
    clock = iter(0.001 * 1.3**k for k in range(1000))
    fixed = {"lucky": 0.001, "guessed": 0.0012, "far behind": 0.004}
    monkeypatch.setattr(Runner, "time", lambda self: fixed.get(self.candidate.name) or next(clock))
    call()
    (choice,) = tuning.choices()
    assert (choice.name, choice.source) == ("guessed", "disturbed")
    assert tuning.save(tmp_path / "choices.json") == 0


def test_large_problems_are_measured_on_a_part() -> None:
    from genfast.ops._conv.arguments import problem
    from genfast.ops._conv.measure import cropped

    meta = torch.empty(64, 512, 64, 64, device="meta"), torch.empty(1024, 512, 3, 3, device="meta")
    large = problem("test", "cpu", False, *meta, None, None, (2, 1), (1, 1), (1, 1), (0, 0), 1, 0)
    small = cropped(large)
    assert small.flops <= 2e8
    x, w = torch.empty(small.x), torch.empty(small.weight)
    assert tuple(torch.conv2d(x, w, None, small.stride, small.padding).shape) == small.out


def test_small_problems_are_not_measured() -> None:
    genfast.conv2d_act(X[:, :4, :6, :6], W[:4, :4])
    for choice in tuning.choices():
        assert choice.source == "rule" and choice.name in ("eager", "general") and not choice.times


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with_candidates(monkeypatch, Slow(), Fake("guessed", speed=2.0), Fake("other"))
    tuning.enable(False)
    assert not tuning.is_enabled()
    call()
    (choice,) = tuning.choices()
    assert (choice.name, choice.source) == ("guessed", "rule")
    tuning.enable()
    call()
    assert tuning.choices()[0].source == "measured"


def test_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Fake("first", 0.001), Fake("second", 0.001)
    with_candidates(monkeypatch, Slow(), first, second)
    with tuning.pinned("first"):
        call()
        with tuning.pinned("second", "weight=16x16x3x3"):
            call()
        with tuning.pinned("second", "weight=1x1x1x1"):
            call()
    assert (first.runs, second.runs) == (2, 1)
    assert tuning.choices() == []
    tuning.pin("second")
    call()
    assert second.runs == 2
    tuning.unpin("")
    tuning.pin("there is none of this name")
    call()
    assert tuning.choices()[0].source == "measured"


def test_saved_choices_are_taken_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fast = Fake("fast")
    with_candidates(monkeypatch, Slow(), fast)
    call()
    saved = tuning.choices()
    file = tmp_path / "choices.json"
    assert tuning.save(file) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["choices.json"]
    tuning.clear()
    assert tuning.load(file) == 1
    runs = fast.runs
    call()
    assert fast.runs == runs + 1
    (loaded,) = tuning.choices()
    assert loaded.source == "loaded" and (loaded.key, loaded.times) == (saved[0].key, saved[0].times)


def test_a_loaded_choice_that_is_gone_is_measured_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_candidates(monkeypatch, Slow(), Fake("fast"))
    call()
    tuning.save(tmp_path / "choices.json")
    with_candidates(monkeypatch, Slow(), Fake("new"))
    tuning.load(tmp_path / "choices.json")
    call()
    assert tuning.choices()[0].name == "new"


def damaged(text: str) -> list[tuple[str, str]]:
    content = json.loads(text)
    elsewhere = {**content, "machine": {**content["machine"], "cpu": "another"}}
    odd = {**content, "choices": [{"key": 1, "name": "fast"}]}
    unknown = {**content, "choices": [{"key": "k", "name": "fast", "colour": "red"}]}
    return [
        (text[: len(text) // 2], "Expecting|Unterminated|delimiter"),
        ("", "Expecting value"),
        ("[1, 2]", "does not hold choices"),
        ('{"format": "something else"}', "does not hold choices"),
        (json.dumps(elsewhere), "written elsewhere: its cpu is not"),
        (json.dumps(odd), "damaged"),
        (json.dumps(unknown), "damaged.*colour"),
        ("\0\1\2", "Expecting value"),
    ]


def test_damaged_and_foreign_files_are_reported_and_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_candidates(monkeypatch, Slow(), Fake("fast"))
    call()
    before = tuning.choices()
    file = tmp_path / "choices.json"
    tuning.save(file)
    for text, words in damaged(file.read_text()):
        file.write_text(text)
        with pytest.warns(UserWarning, match=f"choices.json is ignored: (?s:.*)({words})"):
            assert tuning.load(file) == 0
        assert tuning.choices() == before
    with pytest.warns(UserWarning, match="none.json is ignored"):
        tuning.load(tmp_path / "none.json")


def test_a_failed_save_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "choices.json"
    file.write_text("old")

    def fail(*_: Any) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        tuning.save(file)
    assert file.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_threads_measure_a_problem_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Fake("fast")
    with_candidates(monkeypatch, Slow(), fast)
    measured = []
    original = choose.measure
    monkeypatch.setattr(choose, "measure", lambda *args: measured.append(1) or original(*args))
    results: list[Tensor] = []
    threads = [threading.Thread(target=lambda: results.append(call())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(measured) == 1 and len(results) == 6
    assert all(torch.equal(result, results[0]) for result in results)


def test_random_numbers_of_the_user_are_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    call()
    assert tuning.choices()[0].times
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("setting", ["off", "file"])
def test_environment(setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "choices.json"
    program = (
        "import torch, genfast; from genfast import tuning\n"
        "w = torch.nn.Parameter(torch.ones(16, 16, 3, 3), requires_grad=False)\n"
        "genfast.conv2d_act(torch.ones(1, 16, 24, 24), w, act='linear')\n"
        "print([c.source for c in tuning.choices()])"
    )
    if setting == "file":
        with_candidates(monkeypatch, Slow())
        call()
        tuning.save(file)
    environment = {**os.environ, "GENFAST_TUNING": "off" if setting == "off" else str(file)}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True,
        cwd=Path(genfast.__file__).parents[1],
    )  # fmt: skip
    assert done.stdout.strip() == ("['rule']" if setting == "off" else "['loaded']"), done.stderr
