"""Hands the native library over to CMake; everything else is in pyproject.toml."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

OPTIONS = ("GENFAST_CUDA", "GENFAST_CUDA_ARCHS", "GENFAST_CPU_ISAS", "GENFAST_EMULATOR")


class CMakeBuild(build_ext):
    def build_extension(self, ext: Extension) -> None:
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        build = Path(os.environ.get("GENFAST_BUILD_DIR", Path(self.build_temp).resolve() / "cmake"))
        build.mkdir(parents=True, exist_ok=True)
        configure = [
            "cmake",
            "-S", str(Path(__file__).resolve().parent),
            "-B", str(build),
            "-G", "Ninja",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target}",
            # -U forgets what an earlier build in the same folder was told.
            *(f"-D{name}={value}" if (value := os.environ.get(name)) else f"-U{name}" for name in OPTIONS),
        ]  # fmt: skip
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build)], check=True)


setup(ext_modules=[Extension("genfast._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
