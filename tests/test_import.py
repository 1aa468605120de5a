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


def test_a_library_that_does_not_load_is_no_secret():
    script = """
import sys, warnings
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "genfast._C":
            raise ImportError("genfast was built for avx512 alone")
sys.meta_path.insert(0, Broken())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import genfast
(warning,) = [w for w in caught if w.category is RuntimeWarning]
assert "plain PyTorch" in str(warning.message) and "built for avx512 alone" in str(warning.message)
assert "does not load: genfast was built" in genfast.backends()["cpu"]
assert genfast.normal_noise((2, 5), seeds=3).shape == (2, 5)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
