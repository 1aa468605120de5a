"""All that a GPU machine is for: build, test, look for memory errors and races, measure. Needs no network.

Every stage has a time limit of its own, and a stage that fails does not keep the next from running. Ends with a
table; the exit code says whether all went well. Records go to benchmarks/results/<machine>/.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOTAL_SECONDS, FULL_SECONDS = 530, 3600


@dataclass
class Outcome:
    stage: str
    status: str
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """A command, how long it may take, how to sum its output up, and how it is skipped: with a reason.

    ``shares``: how many processes take a share of it. ``beside``: it runs at the same time as the stage before it.
    """

    name: str
    command: list[str]
    seconds: int
    summary: Callable[[str], str]
    skip: str | None = None
    shares: int = 1
    beside: bool = False


def found(pattern: str) -> Callable[[str], str]:
    """The last line that matches a pattern."""

    def summarise(output: str) -> str:
        lines = [line.strip(" =") for line in output.splitlines() if re.search(pattern, line)]
        return lines[-1] if lines else ""

    return summarise


def counted(output: str) -> str:
    """The last lines of all pytest runs in an output, added up."""
    totals: Counter[str] = Counter()
    for line in output.splitlines():
        if re.search(r" in \d+\.\d+s", line):
            totals.update({kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error|skipped)", line)})
    return ", ".join(f"{n} {kind}" for kind, n in totals.items())


def gpu_tests() -> list[str]:
    """The files with tests for a GPU. Others may need packages that such a machine lacks."""
    files = sorted(ROOT.glob("tests/**/test_*.py"))
    return [str(f.relative_to(ROOT)) for f in files if "pytest.mark.gpu" in f.read_text()]


def folder_name(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


def stages(device: str, full: bool) -> list[Stage]:
    python = sys.executable
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    missing = None if sanitizer else "compute-sanitizer is not installed"
    exercise = [python, "scripts/exercise.py"]
    results = Path("benchmarks") / "results" / folder_name(device)
    records = results / f"cuda-{time.strftime('%Y-%m-%d-%H%M%S')}.jsonl"

    def sanitize(tool: str) -> list[str]:
        # Of vendors' kernels and of the driver's probing for functions it reports what is none of our errors.
        ours = ["--kernel-name", "kernel_substring=genfast", "--report-api-errors", "no"]
        return [sanitizer or "", "--tool", tool, "--error-exitcode", "9", *ours, *exercise]

    # Plain addopts, because an option in pyproject.toml belongs to a plugin that may not be there.
    tests = [
        python, "-m", "pytest", "-m", "gpu", "-o", "addopts=", "-W", "ignore::pytest.PytestConfigWarning",
        "-p", "no:cacheprovider", "-q", "-rs", *gpu_tests(),
    ]  # fmt: skip
    bench = [python, "-m", "genfast.bench", "--device", "cuda", "--json", str(records), *([] if full else ["--quick"])]
    return [
        Stage("build", [python, "setup.py", "build_ext", "--inplace"], 150, found(r"Linking|up.to.date|no work to do")),
        # Most of their time goes into compiling Triton's kernels, one at a time.
        Stage("gpu tests", tests, 180, counted, shares=max(1, min(8, (os.cpu_count() or 1) // 2))),
        Stage("memcheck", sanitize("memcheck"), 180, found("ERROR SUMMARY"), missing, beside=True),
        Stage("racecheck", sanitize("racecheck"), 180, found("RACECHECK SUMMARY"), missing, beside=True),
        Stage(
            "benchmarks",
            bench,
            FULL_SECONDS if full else 330,
            lambda output: str(records) if (ROOT / records).exists() else "",
        ),
    ]


def environment() -> dict[str, str]:
    import torch

    major, minor = torch.cuda.get_device_capability()
    chosen = {"GENFAST_CUDA": "on", "GENFAST_CUDA_ARCHS": f"{major}{minor}", "PYTHONUNBUFFERED": "1"}
    chosen["GENFAST_BUILD_DIR"] = str(ROOT / "build" / "gpu")
    tools = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**chosen, **os.environ, "PATH": os.pathsep.join(tools), "PYTHONPATH": os.pathsep.join(paths)}


running: set[int] = set()
"""Processes that stages have started, each with a session of its own."""


def end_session(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def process_output(command: list[str], env: dict[str, str], seconds: float, live: bool) -> tuple[int, str]:
    """Run a command: its exit code and what it printed, which is shown as it comes or, if not ``live``, in the end."""
    lines: list[str] = []
    # A session of its own, so that whatever it started ends with it.
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        running.add(process.pid)
        watch = threading.Timer(seconds, end_session, (process.pid,))
        watch.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if live:
                    print(line, end="", flush=True)
            code = process.wait()
        finally:
            watch.cancel()
            end_session(process.pid)
            running.discard(process.pid)
    output = "".join(lines)
    if not live:
        print(f"\n--- the end of {' '.join(command)}\n{output}", flush=True)
    return code, output


def run(stage: Stage, env: dict[str, str], seconds: float, live: bool = True) -> Outcome:
    """Run one stage, in as many processes as it has shares."""
    print(f"\n--- {stage.name}: {' '.join(stage.command)}", flush=True)
    start = time.monotonic()
    shares = [env]
    if stage.shares > 1:
        # Threads that spin while they wait for each other would take the cores of other processes.
        env = {**env, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2"}
        shares = [env | {"GENFAST_TEST_SHARE": f"{k + 1}/{stage.shares}"} for k in range(stage.shares)]
    live = live and len(shares) == 1
    with ThreadPoolExecutor(len(shares)) as pool:
        done = list(pool.map(lambda one: process_output(stage.command, one, seconds, live), shares))
    took = time.monotonic() - start
    code = next((code for code, _ in done if code != 0), 0)
    status = "ok" if code == 0 else "out of time" if took >= seconds - 1 else f"FAILED ({code})"
    return Outcome(stage.name, status, took, stage.summary("".join(output for _, output in done)))


def groups(all_stages: list[Stage]) -> list[list[Stage]]:
    """The stages that run at the same time."""
    found: list[list[Stage]] = []
    for stage in all_stages:
        if stage.beside and found:
            found[-1].append(stage)
        else:
            found.append([stage])
    return found


def outcome(stage: Stage, env: dict[str, str], left: float, live: bool) -> Outcome:
    if stage.skip or left < 5:
        return Outcome(stage.name, "skipped" if stage.skip else "out of time", 0.0, stage.skip or "")
    return run(stage, env, min(stage.seconds, left), live)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="every shape in the benchmarks, however long it takes")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        print(f"gpu: {sys.executable} has no torch: call make gpu PYTHON=... with one that has", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("gpu: torch finds no CUDA device here; make test proves what can be proved without", file=sys.stderr)
        return 2
    start, env, outcomes = time.monotonic(), environment(), []
    device = torch.cuda.get_device_name()
    for group in groups(stages(device, options.full)):
        left = TOTAL_SECONDS + FULL_SECONDS * options.full - (time.monotonic() - start)
        alone = len(group) == 1
        with ThreadPoolExecutor(len(group)) as pool:
            try:
                outcomes += pool.map(lambda stage: outcome(stage, env, left, alone), group)  # noqa: B023
            except KeyboardInterrupt:
                for process in list(running):
                    end_session(process)
                raise
    print(f"\n{device}, torch {torch.__version__}, CUDA {torch.version.cuda}, Python {sys.version.split()[0]}")
    for one in outcomes:
        print(f"{one.stage:<12} {one.status:<12} {one.seconds:6.1f} s  {one.note[:100]}")
    return int(any(one.status not in ("ok", "skipped") for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
