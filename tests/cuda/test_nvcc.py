"""What nvcc makes of the kernels, with the flags of the build, and that the module imports without a driver."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from builds import ROOT, alone, configure, run_tool

import genfast
from genfast.backend import native

ARCHS = ("80", "90", "100")
SOURCES = sorted(ROOT.glob("csrc/ops/*/*_cuda.cu"))

pytestmark = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


@pytest.fixture(scope="session")
def commands() -> dict[Path, list[str]]:
    """How the build compiles each .cu file."""
    with alone(ROOT / "build" / "nvcc") as build:
        configure(
            build, "-DGENFAST_CUDA=on", f"-DGENFAST_CUDA_ARCHS={';'.join(ARCHS)}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"
        )
        entries = json.loads((build / "compile_commands.json").read_text())
    return {Path(e["file"]): shlex.split(e["command"]) for e in entries if e["file"].endswith(".cu")}


@dataclass(frozen=True)
class Compiled:
    """PTX of a .cu file, and ptxas's report on the machine code."""

    ptx: str
    report: str


@pytest.fixture(scope="session")
def compiled(
    commands: dict[Path, list[str]], tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Callable[[str], Compiled]:
    """What becomes of the .cu file of an op, compiled once for all processes that share the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "nvcc"
    by_op = {source.parent.name: command for source, command in commands.items()}

    @functools.cache
    def compile_op(op: str) -> Compiled:
        with alone(shared / op) as folder:
            report = folder / "report.txt"
            if not report.exists():
                command = by_op[op]
                flags = [f for f in command[: command.index("-x")] if "generate-code" not in f]
                flags += [
                    f"-gencode=arch=compute_{ARCHS[0]},code=sm_90",
                    "-Xptxas=-v",
                    "-cubin",
                    "--keep",
                    f"--keep-dir={folder}",
                ]
                source = command[command.index("-c") + 1]
                report.write_text(run_tool(*flags, source, "-o", str(folder / "out.cubin")))
            (ptx,) = folder.glob("*.ptx")
            return Compiled(ptx.read_text(), report.read_text())

    return compile_op


def test_the_build_compiles_every_file_for_every_target(commands: dict[Path, list[str]]) -> None:
    assert sorted(commands) == SOURCES
    for command in commands.values():
        assert "-fmad=false" in command
        (targets,) = (flag for flag in command if "generate-code" in flag)
        assert all(f"sm_{arch}" in targets for arch in ARCHS)
        assert f"code=[compute_{ARCHS[0]}," in targets, "newer GPUs need PTX"


def test_the_installed_library_holds_the_kernels() -> None:
    assert native is not None and native.cuda_compiled(), "nvcc is here: install with GENFAST_CUDA=auto or on"
    assert native.cuda_archs().split(",")


def test_imports_without_a_driver(tmp_path: Path) -> None:
    code = "import genfast; print(genfast.backends()['cuda'])"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.strip() == "no CUDA device is present", done.stderr


def test_a_kernel_without_a_device_is_an_error_that_names_the_op() -> None:
    if genfast.backends()["cuda"] is None:
        pytest.skip("a CUDA device is present")
    with pytest.raises(RuntimeError, match=r"^normal_noise: CUDA: "):
        native.normal_noise_cuda(16, 0, 1, 4, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("op", [source.parent.name for source in SOURCES])
def test_nothing_spills(compiled: Callable[[str], Compiled], op: str) -> None:
    report = compiled(op).report
    kernels = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(kernels) == report.count("Compiling entry function") > 0
    assert set(kernels) == {("0", "0", "0")}


# Tensors of any strides, tiles of matrices with edges, and samples of any length are read a value at a time.
BY_VALUE = ("attention", "gan_loss", "gradient_penalty", "linear_act")
# These take sixteen bytes of half types too, and read what they may write over: not past the coherent path.
IN_PLACE = ("bias_act", "bias_act_gradient")
# Weights and moments have no half types.
FLOAT_ONLY = ("adam",)


@pytest.mark.parametrize("op", [source.parent.name for source in SOURCES if source.parent.name not in BY_VALUE])
def test_memory_is_read_and_written_in_vectors(compiled: Callable[[str], Compiled], op: str) -> None:
    ptx = compiled(op).ptx
    assert re.search(r"st\.global\.(wb\.)?v4\.[fb]32", ptx)
    if op in IN_PLACE:
        assert re.search(r"ld\.global\.v4\.[fb]32", ptx)
        return
    if op in FLOAT_ONLY:
        assert re.search(r"ld\.global\.(nc\.)?v4\.[fb]32", ptx)
        return
    assert re.search(r"st\.global\.(wb\.)?v2\.[bu]32", ptx)
    if not op.endswith("_noise") or op == "add_noise":
        assert re.search(r"ld\.global\.nc\.v4\.[fb]32", ptx) and re.search(r"ld\.global\.nc\.v2\.[bu]32", ptx)


@pytest.mark.parametrize("op", [source.parent.name for source in SOURCES])
def test_arithmetic_is_exact(compiled: Callable[[str], Compiled], op: str) -> None:
    """No approximate function, and subnormal numbers kept: what the bits of every backend rest on."""
    assert not re.search(r"\.(approx|ftz|full)\b", compiled(op).ptx)


@pytest.mark.parametrize("op", [source.parent.name for source in SOURCES])
def test_only_written_multiply_adds_are_fused(compiled: Callable[[str], Compiled], op: str) -> None:
    """An instruction that names its rounding is never merged with another by the assembler."""
    ptx = compiled(op).ptx
    assert re.search(r"\b(mul|fma)\.rn\.f32\b", ptx)
    assert not re.search(r"\b(mul|add|sub|mad)\.f(32|64)\b", ptx)
