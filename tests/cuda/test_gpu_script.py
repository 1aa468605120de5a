"""scripts/gpu.py: a stage that fails or hangs is reported, and whatever it started ends with it."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from builds import ROOT


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_script", ROOT / "scripts" / "gpu.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("code", "status", "note"),
    [
        ("print('== 3 passed ==')", "ok", "3 passed"),
        ("print('1 failed'); raise SystemExit(4)", "FAILED (4)", "1 failed"),
        ("import time; print('2 passed', flush=True); time.sleep(60)", "out of time", "2 passed"),
    ],
)
def test_outcome_of_a_stage(gpu: ModuleType, code: str, status: str, note: str) -> None:
    stage = gpu.Stage("tests", [sys.executable, "-c", code], 2, gpu.found("passed|failed"))
    outcome = gpu.run(stage, dict(os.environ), stage.seconds)
    assert (outcome.status, outcome.note) == (status, note)
    assert outcome.seconds < 20


def test_children_end_with_their_stage(gpu: ModuleType, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    stage = gpu.Stage("hang", ["sh", "-c", f"(sleep 4; touch {alive}) & wait"], 1, gpu.found("x"))
    assert gpu.run(stage, dict(os.environ), stage.seconds).status == "out of time"
    time.sleep(4)
    assert not alive.exists()


def test_shares_of_a_stage_are_added_up(gpu: ModuleType) -> None:
    code = (
        "import os; k, n = os.environ['GENFAST_TEST_SHARE'].split('/'); print(f'== {k} passed, {n} skipped in 0.1s ==')"
    )
    stage = gpu.Stage("tests", [sys.executable, "-c", code], 20, gpu.counted, shares=3)
    outcome = gpu.run(stage, dict(os.environ), stage.seconds)
    assert (outcome.status, outcome.note) == ("ok", "6 passed, 9 skipped")
    failing = gpu.Stage(
        "tests", [sys.executable, "-c", f"{code}; raise SystemExit(k == '2')"], 20, gpu.counted, shares=3
    )
    assert gpu.run(failing, dict(os.environ), failing.seconds).status == "FAILED (1)"


def test_shares_of_the_tests_are_all_of_them(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for k in (1, 2, 3):
        monkeypatch.setenv("GENFAST_TEST_SHARE", f"{k}/3")
        items = list(range(10))
        pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py")).pytest_collection_modifyitems(items)
        shares.append(items)
    assert sorted(k for share in shares for k in share) == list(range(10)) and max(map(len, shares)) == 4


def test_sanitizers_run_beside_the_tests(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.shutil, "which", lambda name, path=None: f"/bin/{name}")
    stages = gpu.stages("NVIDIA H200", full=False)
    assert [[stage.name for stage in group] for group in gpu.groups(stages)] == [
        ["build"], ["gpu tests", "memcheck", "racecheck"], ["benchmarks"],
    ]  # fmt: skip
    assert all(stage.skip is None for stage in stages)


def test_finds_the_tests_for_a_gpu(gpu: ModuleType) -> None:
    assert "tests/cuda/test_cuda_device.py" in gpu.gpu_tests()
    assert gpu.folder_name("NVIDIA H200") == "nvidia-h200"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_says_what_is_missing(
    gpu: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 2
    assert "no CUDA device" in capsys.readouterr().err
