"""The convolutions' Triton kernel, compiled ahead of time: every tile for every target, and to what it promises."""

import os
import re
from dataclasses import replace

import pytest
import torch
from convolution_cases import Call, Case

triton = pytest.importorskip("triton", reason="the package triton is not installed")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the process interprets its kernels", allow_module_level=True)

from launches import _recorded  # noqa: E402

from genfast.ops import _triton  # noqa: E402
from genfast.ops._activation import CODES  # noqa: E402
from genfast.ops._conv.gpu_triton import CANDIDATES  # noqa: E402
from genfast.ops._conv.problem import Epilogue  # noqa: E402

CAPABILITIES = (80, 90, 100)
PLAIN = Case(64, 64, size=(4, 5))
POINTS = replace(PLAIN, kernel=(1, 1), padding=(0, 0))
TRANSPOSED = replace(PLAIN, kernel=(4, 4), stride=(2, 2), transposed=True)
FIRST = replace(PLAIN, channels=3)
LAST = replace(PLAIN, out=3)
HALF, BRAIN = torch.float16, torch.bfloat16
VARIANTS = [
    replace(PLAIN, dtype=HALF, channels_last=True),
    replace(TRANSPOSED, dtype=BRAIN, channels_last=True),
    replace(FIRST, dtype=HALF, channels_last=True),
    replace(PLAIN, dtype=BRAIN),
    replace(TRANSPOSED),
    replace(POINTS, dtype=HALF, channels_last=True),
    replace(POINTS, dtype=BRAIN, channels_last=True),
    replace(LAST, dtype=HALF, channels_last=True),
    replace(LAST),
    replace(LAST, kernel=(4, 4), stride=(2, 2), transposed=True, channels_last=True),
]
TENSOR_CORES = re.compile(r"\b(mma\.sync|wgmma\.mma_async|tcgen05\.mma)")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.fixture
def record(monkeypatch, generator):
    """What a tile hands to Triton for a case."""

    def launched(tile, case, alone=False):
        found = []
        monkeypatch.setattr(_triton, "launch", lambda kernel, _, warps, *rest: found.append((kernel, warps, *rest)))
        Call(case, generator).run(tile, Epilogue(CODES["silu"]), alone)
        (launch,) = found
        return _recorded(*launch)

    return launched


def variant(tile, turn):
    """One of the cases that a tile takes; which one depends on the turn."""
    able = [case for case in VARIANTS if tile.supports(Call(case, torch.Generator()).problem)]
    return able[turn % len(able)]


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("index", range(len(CANDIDATES)), ids=lambda index: CANDIDATES[index].name)
def test_every_tile_compiles(record, index, capability):
    tile = CANDIDATES[index]
    case = variant(tile, index + CAPABILITIES.index(capability))
    compiled = record(tile, case).compile(capability)
    assert compiled.asm["cubin"][:4] == b"\x7fELF"
    ptx = compiled.asm["ptx"]
    assert TENSOR_CORES.search(ptx), case
    if case.channels_last and case.channels % 8 == 0:
        assert re.search(r"cp\.async\.cg\.shared\.global \[[^]]*\], \[[^]]*\], 0x10|cp\.async\.bulk", ptx)
    if case.channels_last and case.out % 8 == 0:
        assert "st.global.v4" in ptx and not re.search(r"st\.global\.b(16|32)", ptx)


def test_tf32_is_used_where_it_is_allowed(record, monkeypatch):
    tile = next(tile for tile in CANDIDATES if tile.pixels == tile.channels == 32)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert "tf32.tf32.f32" in record(tile, PLAIN).compile(80).asm["ptx"]
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    ptx = record(tile, PLAIN).compile(80).asm["ptx"]
    assert not TENSOR_CORES.search(ptx) and "fma.rn.f32" in ptx


def test_sizes_are_not_compiled_for(record):
    tile = CANDIDATES[2]
    launch = record(tile, PLAIN)
    assert launch == record(tile, replace(PLAIN, size=(9, 16), batch=16, channels=128, out=320))
    assert launch != record(tile, replace(PLAIN, channels=65))
    assert launch != record(tile, PLAIN, alone=True)
    kernel = launch.kernel
    free = {p.name for p in kernel.params if not p.is_constexpr and p.annotation_type}
    assert free == {p.name for p in kernel.params if p.do_not_specialize}


def test_more_than_four_warps_only_for_kernels_of_one_element(generator):
    wide = [tile for tile in CANDIDATES if tile.warps > 4]
    assert wide
    for case in VARIANTS:
        problem = Call(case, generator).problem
        assert case.kernel == (1, 1) or not any(tile.supports(problem) for tile in wide)
        assert any(tile.supports(problem) for tile in CANDIDATES)
