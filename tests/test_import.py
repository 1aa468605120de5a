"""``import genfast`` is quick and imports nothing that is optional."""

import json
import subprocess
import sys

OPTIONAL = (
    "typer", "rich", "matplotlib", "sklearn", "safetensors", "tensorboard", "diffusers", "triton", "PIL", "scipy",
)  # fmt: skip
LIMIT_SECONDS = 0.3

SCRIPT = """
import json, sys, time
import torch
before = set(sys.modules)
start = time.process_time()
import genfast
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "modules": sorted(set(sys.modules) - before)}))
"""


def imported():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(run.stdout)


def test_import_is_quick_and_lean():
    runs = [imported() for _ in range(3)]
    assert min(run["seconds"] for run in runs) <= LIMIT_SECONDS
    packages = {module.partition(".")[0] for module in runs[0]["modules"]}
    assert packages.isdisjoint(OPTIONAL)
    assert "genfast" in packages


def test_lazy_parts_come_when_asked_for():
    script = "import genfast, sys; assert 'genfast.samplers' not in sys.modules; genfast.Sampler; genfast.models.UNet"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
