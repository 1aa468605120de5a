"""The convolutions' Triton kernel: every tile, shape and layout against float64."""

from dataclasses import replace

import pytest
import torch
from convolution_cases import DIRECT, TRANSPOSED, Call, Case

from genfast.ops._activation import CODES, TABLE
from genfast.ops._conv.gpu_triton import CANDIDATES
from genfast.ops._conv.problem import Epilogue

RELU = CODES["relu"]
MOST_PIXELS = 200
# The interpreter takes its time per program: small images, in one layout or the other.
CASES = [
    replace(case, transposed=transposed, channels_last=i % 2 == transposed)
    for transposed, cases in ((False, DIRECT), (True, TRANSPOSED))
    for i, case in enumerate(cases)
    if case.batch * case.size[0] * case.size[1] < MOST_PIXELS
]
EVERY_TILE = [
    Case(20, 8, size=(5, 7)),
    Case(20, 20, kernel=(1, 1), padding=(0, 0), size=(5, 7), channels_last=True),
    Case(40, 20, kernel=(4, 4), stride=(2, 2), size=(4, 5), transposed=True, channels_last=True),
]


def smallest(call):
    able = [tile for tile in CANDIDATES if tile.supports(call.problem)]
    return min(able, key=lambda tile: tile.pixels * tile.channels)


def relu(call):
    return (call.sums.relu() * 1.5).clamp(-2, 2)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_shape(case, generator):
    call = Call(case, generator)
    call.check(call.run(smallest(call), Epilogue(RELU, 0.0, 1.5, 2.0)), relu(call), 1.5)


@pytest.mark.parametrize("tile", CANDIDATES, ids=lambda tile: tile.name)
def test_every_tile(tile, generator):
    able = [call for call in (Call(case, generator) for case in EVERY_TILE) if tile.supports(call.problem)]
    assert able
    for call in able:
        call.check(call.run(tile, Epilogue(), alone=True), call.plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True])
def test_half_types(dtype, last, generator):
    call = Call(replace(EVERY_TILE[0], dtype=dtype, channels_last=last), generator)
    call.check(call.run(smallest(call), Epilogue(RELU, 0.0, 1.5, 2.0)), relu(call), 1.5)


@pytest.mark.parametrize("code", range(len(TABLE)), ids=lambda code: TABLE[code].name)
def test_every_activation(code, generator):
    call = Call(Case(2, 3, size=(3, 4)), generator)
    call.residual[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), float("-inf")])
    call.sums[0, 0, 0, :3] = call.residual[0, 0, 0, :3].double()
    wanted = TABLE[code].function(call.sums, TABLE[code].param)
    found = call.run(smallest(call), Epilogue(code, TABLE[code].param))
    assert torch.equal(found.isnan(), wanted.isnan())
    torch.testing.assert_close(found.double(), wanted, rtol=2e-6, atol=2e-6, equal_nan=True)
