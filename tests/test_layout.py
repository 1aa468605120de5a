"""The op's name is the path, layers know only what lies below them, and facts stated twice agree."""

import ast
import inspect
import re
import sys
from pathlib import Path

import pytest

import genfast
from genfast.ops import _check, _exact
from genfast.ops._loss import CODES
from genfast.ops.diffusion_loss.reference import REDUCTIONS, TARGETS
from genfast.ops.reconstruction_loss.reference import KINDS
from genfast.ops.sampler_step.coefficients import MAX_HISTORY, WIDTH, Coefficient
from genfast.random import Stream
from genfast.registry import ops

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "genfast").rglob("*.py"))
CSRC = sorted(path for path in (ROOT / "csrc").rglob("*") if path.is_file())
# They differ in one constant: genfast/ops/_noise_triton.py.
ONE_TRITON_KERNEL = ("normal_noise", "uniform_noise")
# What several ops share.
SHARED_FOLDERS = {"_conv"}
LONGEST_FILE = 350

# What a part may import of genfast: itself, the foundation and the parts named here.
FOUNDATION = {"_config", "_files", "_progress", "_version", "backend", "numerics", "random", "registry", "tuning"}
BELOW = {
    "ops": set(),
    "schedules": {"ops"},
    "samplers": {"ops", "schedules"},
    "nn": {"ops"},
    "models": {"ops", "nn"},
    "data": {"ops"},
    "metrics": {"ops", "models", "data"},
    "training": {"ops", "nn", "models", "data", "schedules", "samplers", "metrics"},
    "integrations": {"ops", "nn", "models", "schedules", "samplers"},
}
CORE = ("ops", "schedules", "samplers", "nn", "models", "__init__", *FOUNDATION)
CORE_DEPENDENCIES = {"genfast", "torch", "numpy"}


def name_of(module):
    return ".".join(module.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(module, top_level_only=False):
    """Absolute names that a module imports."""
    tree = ast.parse(module.read_text())
    package = name_of(module).split(".") if module.name == "__init__.py" else name_of(module).split(".")[:-1]
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def part_of(name):
    """The part of genfast that a dotted name lies in, or None."""
    parts = name.split(".")
    return parts[1] if parts[0] == "genfast" and len(parts) > 1 else None


@pytest.mark.parametrize("name", sorted(ops))
def test_the_name_of_an_op_is_its_path(name):
    native, python = ROOT / "csrc" / "ops" / name, ROOT / "genfast" / "ops" / name
    assert {f"{name}{end}" for end in (".h", "_cpu.cpp", "_cuda.cu", "_bind.cpp")} <= {p.name for p in native.iterdir()}
    assert (python / "__init__.py").exists() and (python / "reference.py").exists()
    assert (python / "triton_kernel.py").exists() or name in ONE_TRITON_KERNEL
    assert {"cpu", "cuda", "triton", "reference"} <= set(ops[name].implementations)


def test_every_folder_of_an_op_is_registered():
    for folder in (ROOT / "csrc" / "ops", ROOT / "genfast" / "ops"):
        folders = {path.name for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"}
        assert folders - SHARED_FOLDERS == set(ops)


def test_native_sources_know_no_torch():
    for path in CSRC:
        included = re.findall(r"#\s*include\s*[<\"]([^>\"]+)", path.read_text())
        assert not [header for header in included if header.startswith(("torch/", "ATen/", "c10/"))], path


def test_files_stay_short():
    folders = ("genfast", "csrc", "tests", "benchmarks", "scripts", "examples")
    suffixes = {".py", ".h", ".cuh", ".cpp", ".cu", ".sh"}
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in suffixes]
    long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > LONGEST_FILE}
    assert not long


@pytest.mark.parametrize("part", sorted(BELOW))
def test_layers_import_only_what_lies_below(part):
    allowed = FOUNDATION | BELOW[part] | {part, None}
    for module in MODULES:
        if part_of(name_of(module)) == part:
            found = {part_of(name) for name in imports(module)}
            # Names of the package itself, as in `from genfast import registry`.
            found -= {name for name in found if name in genfast.__all__}
            assert found <= allowed, (module, found - allowed)


def test_nothing_imports_the_command_line():
    for module in MODULES:
        if part_of(name_of(module)) not in ("cli", "__main__"):
            assert "cli" not in {part_of(name) for name in imports(module)}, module


def test_core_imports_torch_and_numpy_only():
    for module in MODULES:
        if (part_of(name_of(module)) or "__init__") in CORE and "triton" not in module.name:
            packages = {name.partition(".")[0] for name in imports(module, top_level_only=True)}
            assert packages <= CORE_DEPENDENCIES | sys.stdlib_module_names, module


@pytest.mark.parametrize("name", sorted(set(genfast.__all__) - {"__version__"}))
def test_what_is_public_is_documented(name):
    value = getattr(genfast, name)
    document = inspect.getdoc(value) or ""
    assert len(document) > 40, name
    for other in re.findall(r"those of :func:`genfast\.(\w+)`", document):
        document += inspect.getdoc(getattr(genfast, other))
    if inspect.isfunction(value):
        for parameter in inspect.signature(value).parameters:
            assert re.search(rf"\b{parameter}\b", document), f"{name}: {parameter} is not documented"


def source(path):
    return (ROOT / "csrc" / path).read_text()


def enumerators(path, enum):
    """Names and values of a C++ enum, in order."""
    body = re.search(rf"enum class {enum} : int \{{(.*?)\}}", source(path), re.S)[1]
    return {name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", body)}


def test_dtype_codes_agree():
    short = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
    native = {f"torch.{short[name]}": code for name, code in enumerators("common/dtype.h", "DType").items()}
    assert native == {str(dtype): code for dtype, code in _check.DTYPE_CODES.items()}


def test_loss_codes_agree():
    header = "ops/diffusion_loss/diffusion_loss.h"
    assert list(enumerators(header, "Target")) == list(TARGETS)
    assert list(enumerators(header, "Reduction")) == list(REDUCTIONS)
    assert enumerators("common/loss_sum.h", "LossReduction") == CODES
    header = "ops/reconstruction_loss/reconstruction_loss.h"
    assert list(enumerators(header, "Reconstruction")) == list(KINDS)


def test_coefficient_rows_agree():
    header = source("ops/sampler_step/sampler_step.h")
    names = re.search(r"struct StepRow \{\s*float (.*?), h\[kMaxHistory\];", header, re.S)[1].split(", ")
    names += [f"h_{k}" for k in range(MAX_HISTORY)]
    assert [name.upper() for name in names] == [coefficient.name for coefficient in Coefficient]
    assert len(names) == WIDTH
    assert int(re.search(r"kMaxHistory = (\d+)", header)[1]) == MAX_HISTORY
    shift = int(re.search(r"kInpaintOffset = 1u << (\d+)", header)[1])
    assert 1 << shift == Stream.INPAINT - Stream.STEP


def test_polynomials_of_the_noise_agree():
    native = [float(value) for value in re.findall(r"splat\((-?\d[\d.e-]*)f\)", source("common/box_muller.h"))]
    for polynomial in (_exact.LOG, _exact.SIN, _exact.COS):
        starts = range(len(native) - len(polynomial) + 1)
        assert any(native[k : k + len(polynomial)] == list(polynomial) for k in starts), polynomial
