"""The convolutions' kernels on a GPU, CUDA's and every tile of Triton's, at sizes of layers."""

from dataclasses import replace

import pytest
import torch
from convolution_cases import LAYOUTS, Call, Case

import genfast
from genfast.ops._activation import CODES
from genfast.ops._conv.gpu import Cuda
from genfast.ops._conv.gpu_triton import CANDIDATES
from genfast.ops._conv.problem import Epilogue

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present"),
]

CASES = [
    Case(96, 160, size=(33, 31)),
    Case(96, 160, kernel=(1, 1), padding=(0, 0), size=(33, 31)),
    Case(96, 160, kernel=(4, 4), stride=(2, 2), size=(17, 18)),
    Case(96, 160, kernel=(4, 4), stride=(2, 2), size=(17, 18), transposed=True),
    Case(3, 160, size=(33, 31)),
    Case(130, 3, size=(33, 31)),
    Case(130, 3, kernel=(4, 4), stride=(2, 2), size=(17, 18), transposed=True),
    Case(96, 96, groups=96, size=(33, 31)),
]
KERNELS = [Cuda(), *CANDIDATES]


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Convolutions of float32, not of TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def check(call, kernel, slack):
    relu = Epilogue(CODES["relu"], 0.0, 1.5, 2.0)
    call.check(call.run(kernel, relu, device="cuda"), (call.sums.relu() * 1.5).clamp(-2, 2), 1.5 * slack)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_kernel_at_the_sizes_of_layers(kernel, last, dtype, generator):
    if genfast.backends()[kernel.backend] is not None:
        pytest.skip(genfast.backends()[kernel.backend])
    for case in CASES:
        call = Call(replace(case, channels_last=last, dtype=dtype), generator)
        if kernel.supports(call.problem):
            # Tensor cores cut off the last bit of a sum where fma rounds it.
            check(call, kernel, 4.0)


@pytest.mark.parametrize("case", LAYOUTS, ids=str)
def test_every_shape(case, generator):
    if genfast.backends()["cuda"] is not None:
        pytest.skip(genfast.backends()["cuda"])
    check(Call(case, generator), Cuda(), 1.0)
