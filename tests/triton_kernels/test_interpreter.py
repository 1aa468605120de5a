"""Runs the tests in ``interpreted/`` in a process whose Triton interprets its kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="the package triton is not installed")


def test_kernels_under_the_interpreter():
    root = Path(__file__).parents[2]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(root), *sys.path[1:]])}
    environment.pop("GENFAST_BACKEND", None)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/triton_kernels/interpreted"],
        cwd=root, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout and "skipped" not in result.stdout, result.stdout
