"""The source archive is complete, the wheel lean, and the wheel runs from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from genfast.backend import native

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = ("genfast", "csrc", "CMakeLists.txt", "setup.py", "pyproject.toml", "MANIFEST.in",
           "README.md", "CHANGELOG.md", "LICENSE", "constraints.txt")  # fmt: skip
SYSTEM_LIBRARIES = {"libc", "libm", "libstdc++", "libgcc_s", "libdl", "libpthread", "librt", "ld-linux-x86-64"}

# An isolated build environment has neither torch nor numpy.
NO_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy"):
            raise ModuleNotFoundError(f"{name} was imported by the build")
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The sdist, and the wheel built of the sdist, without CUDA: that is a matter of compilers, not of packaging."""
    root = tmp_path_factory.mktemp("package")
    tree, dist, site = root / "tree", root / "dist", root / "site"
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_TORCH)
    # Without optimisation and for one processor: the rest is minutes of compilation and nothing of what is proved here.
    options = {"GENFAST_CUDA": "off", "GENFAST_CPU_ISAS": "native", "CMAKE_BUILD_TYPE": "None"}
    environment = os.environ | options | {"PYTHONPATH": str(site)}
    environment.pop("GENFAST_BUILD_DIR", None)
    build = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(tree)],
        env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-3000:]
    return next(dist.glob("*.tar.gz")), next(dist.glob("*.whl"))


def needed_libraries(library):
    listing = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True, check=True).stdout
    return {name.partition(".so")[0] for name in re.findall(r"\(NEEDED\).*\[(.+)\]", listing)}


@pytest.mark.timeout(1000)
def test_sdist_holds_what_a_build_needs(archives):
    with tarfile.open(archives[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "setup.py", "pyproject.toml", "LICENSE", "genfast/py.typed"} <= names
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*") if path.is_file()}
    assert sources <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def test_wheel_holds_the_package_and_nothing_else(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        names = wheel.namelist()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "genfast").rglob("*.py")}
    assert modules | {"genfast/py.typed"} <= set(names)
    assert len([name for name in names if re.fullmatch(r"genfast/_C\..*so", name)]) == 1
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"genfast"}
    assert not [name for name in names if "_emulated" in name or name.endswith((".cpp", ".cu", ".h"))]


def test_metadata(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        path = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(path))
    assert {"demo", "bench", "test", "triton", "dev"} <= set(metadata.get_all("Provides-Extra"))
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert {re.match(r"[\w-]+", line)[0] for line in required} == {"torch", "numpy"}
    assert metadata["License-Expression"] == "Apache-2.0"


def test_wheel_runs_from_an_empty_folder(archives, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    subprocess.run([*install, str(site), str(archives[1])], check=True, timeout=120)
    script = f"""
import genfast, torch
assert genfast.__file__.startswith({str(site)!r}), genfast.__file__
assert genfast.backends()["cpu"] is None
with genfast.backend("reference"):
    wanted = genfast.normal_noise((2, 3, 8, 8), seeds=5)
assert torch.equal(genfast.normal_noise((2, 3, 8, 8), seeds=5), wanted)
"""
    environment = os.environ | {"PYTHONPATH": str(site)}
    subprocess.run([sys.executable, "-c", script], cwd=empty, env=environment, check=True, timeout=120)
    assert needed_libraries(next((site / "genfast").glob("_C.*.so"))) <= SYSTEM_LIBRARIES


def test_library_in_use_links_to_the_system_only():
    assert needed_libraries(native.__file__) <= SYSTEM_LIBRARIES


def test_build_needs_no_torch():
    assert not [line for line in PROJECT["build-system"]["requires"] if "torch" in line]


def test_constraints_pin_every_requirement():
    pinned = {
        re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = {
        re.match(r"[\w.-]+", line)[0].lower()
        for group in (PROJECT["build-system"]["requires"], PROJECT["project"]["dependencies"], *extras)
        for line in group
    }
    assert wanted - {"genfast"} <= pinned
