"""Every launch configuration compiles to machine code for sm_80, sm_90 and sm_100, and to the arithmetic it says."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="the package triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the process interprets its kernels", allow_module_level=True)

from launches import recorded  # noqa: E402

from genfast.ops import _exact  # noqa: E402
from genfast.ops._activation_triton import EXPONENT, LOG1P  # noqa: E402

LAUNCHES = recorded()
LOSSES = ("diffusion_loss_kernel", "gaussian_kl_kernel", "reconstruction_loss_kernel")
"""They sum over their tiles, in float64 at last."""
EXP_FMAS, LOG1P_FMAS = 3 + len(EXPONENT), len(LOG1P)
NORMAL_FMAS = 2 * (1 + len(_exact.LOG) + len(_exact.SIN) + len(_exact.COS))
"""Fused multiply-adds of a counter's two pairs of normals: two uniforms, two in the logarithm, three polynomials."""

ARITHMETIC = re.compile(r"(add|sub|mul|fma|mad|div|sqrt|rcp|rsqrt|sin|cos|lg2|ex2)\..*f(16|32|64)")
ROUNDED = re.compile(r"(add|sub|mul|fma|div|sqrt)\.rn\.f(32|64|32x2|32\.f16|32\.bf16)")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


def instructions(ptx):
    """Each instruction of the kernel with its count."""
    return Counter(re.findall(r"^\s+(?:@!?%\w+ )?([a-z]\w*\.[\w.:]+)", ptx, re.MULTILINE))


def is_exact(launch):
    """Whether the kernel promises its bits: those that draw noise, or take it, work on tiles of samples."""
    return "SAMPLES" in dict(launch.constants) or launch.kernel.__name__ == "sum_kernel"


def expected_fmas(launch):
    """Fused multiply-adds per thread that the formulas ask for."""
    name = launch.kernel.__name__
    if name == "sum_kernel":
        return 0
    counters = launch.value("SAMPLES") * launch.value("QUADS") * launch.value("CHANNELS") // (32 * launch.warps)

    def given(argument):
        return launch.value(argument) not in (None, "constexpr")

    if name == "noise_kernel":
        return counters * NORMAL_FMAS * launch.value("NORMAL")
    if name == "diffusion_loss_kernel":
        draws = not given("noise") and launch.value("TARGET") != "x0"
        fused = launch.value("TARGET") == "v"  # the other targets have factors of 1
        return counters * (NORMAL_FMAS * draws + 4 * fused)
    if name == "_template_kernel":
        return counters * 4
    if name == "gaussian_kl_kernel":
        return counters * (NORMAL_FMAS * given("seeds") + 4 * (EXP_FMAS + 2))
    if name == "gaussian_kl_gradient_kernel":
        slopes = given("dkl") * (2 + launch.value("FREE"))
        return counters * (NORMAL_FMAS * given("seeds") + 4 * (EXP_FMAS + slopes))
    if name == "reconstruction_loss_kernel":
        return counters * 4 * (EXP_FMAS + LOG1P_FMAS + 1) * (launch.value("KIND") == "bce_logits")
    if name == "add_noise_kernel":
        return counters * (NORMAL_FMAS * given("seeds") + 4)
    assert name == "sampler_step_kernel"
    draws = given("seeds") * (1 + given("known"))
    optional = ("uncond", "entry", "known", *(f"history{k}" for k in range(4)))
    steps = 3 + given("noise") + draws + sum(given(argument) for argument in optional)
    return counters * (NORMAL_FMAS * draws + 4 * steps)


def check_arithmetic(launch, ptx):
    found = instructions(ptx)
    # sm_100 has instructions for pairs, and some that widen a half operand on the way in.
    fmas = sum(n for i, n in found.items() if i.startswith("fma.rn.f32"))
    assert fmas + found["fma.rn.f32x2"] == expected_fmas(launch)
    for instruction in found:
        # Sums and products say how they round, so nothing later may fuse them.
        if ARITHMETIC.match(instruction):
            assert ROUNDED.fullmatch(instruction), instruction
        if ".f64" in instruction:
            assert launch.kernel.__name__ in (*LOSSES, "sum_kernel"), instruction
            assert "fma" not in instruction


def check_vectors(launch, ptx):
    found = instructions(ptx)
    large = dict(launch.constants).items() >= {"SAMPLES": 1, "CHANNELS": 1, "ALIGN": 8}.items()
    full = [kind for _, kind in launch.signature if kind.startswith("*fp") or kind.startswith("*bf")]
    if large and set(full) <= {"*fp32", "*fp64"}:
        assert found["st.global.v4.b32"] >= 2 and not found["st.global.b32"]
        if launch.kernel.__name__ not in LOSSES:
            assert not any("shared" in instruction for instruction in found)


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("kernel", sorted({launch.kernel.__name__ for launch in LAUNCHES}))
def test_every_configuration_compiles(kernel, capability):
    for launch in LAUNCHES:
        if launch.kernel.__name__ == kernel:
            compiled = launch.compile(capability)
            assert compiled.asm["cubin"][:4] == b"\x7fELF", launch
            assert compiled.metadata.enable_fp_fusion is False
            if is_exact(launch):
                check_arithmetic(launch, compiled.asm["ptx"])
                check_vectors(launch, compiled.asm["ptx"])


def test_the_samples_reach_every_option():
    by_kernel = {}
    for launch in LAUNCHES:
        for name, kind in launch.signature:
            value = launch.value(name) if kind == "constexpr" else kind
            by_kernel.setdefault((launch.kernel.__name__, name), set()).add(value)
    tiled = [launch for launch in LAUNCHES if "SAMPLES" in dict(launch.constants)]
    tiles = {tuple(launch.value(n) for n in ("SAMPLES", "QUADS", "CHANNELS")) for launch in tiled}
    assert tiles == {(1, 256, 1), (16, 16, 1), (256, 1, 1), (1, 64, 4), (1, 8, 32)}
    for (kernel, name), values in by_kernel.items():
        if name == "ALIGN":
            assert values == {1, 8}, kernel
    for kernel, optional in (
        (
            "sampler_step_kernel",
            "uncond history0 history1 history2 history3 noise seeds model_scale threshold known mask",
        ),
        ("sampler_step_kernel", "entry model_input"),
        ("diffusion_loss_kernel", "weight noise seeds gradient"),
        ("add_noise_kernel", "noise seeds"),
        ("gaussian_kl_kernel", "noise seeds"),
        ("gaussian_kl_gradient_kernel", "noise seeds dz dkl"),
        ("reconstruction_loss_kernel", "weight gradient"),
    ):
        for name in optional.split():
            assert None in by_kernel[kernel, name] and len(by_kernel[kernel, name]) > 1, (kernel, name)
    assert by_kernel["diffusion_loss_kernel", "TARGET"] == {"epsilon", "v", "x0", "flow"}


def test_the_assembler_fuses_nothing(tmp_path):
    """In machine code too, each product and sum of the loss with given noise stands alone."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    if not tool.exists():
        pytest.skip(f"this Triton ships no {tool.name}")
    losses = [launch for launch in LAUNCHES if launch.kernel.__name__ == "diffusion_loss_kernel"]
    launch = next(loss for loss in losses if loss.value("TARGET") == "epsilon" and loss.value("seeds") is None)
    binary = tmp_path / "kernel.cubin"
    binary.write_bytes(launch.compile(90).asm["cubin"])
    code = subprocess.run([tool, "-c", binary], capture_output=True, text=True, check=True).stdout
    assert "FMUL" in code and "FADD" in code
    assert "FFMA" not in code and "DFMA" not in code
