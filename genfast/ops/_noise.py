"""What the two noise ops share: checks, layouts, launches, registration. They differ in their kernels."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops._check import DTYPE_CODES, STORAGE, seed_arguments
from genfast.random import Seeds, Stream, as_seeds, check_stream

SCHEMA = "(Tensor seeds, SymInt[] size, SymInt stream, ScalarType dtype, MemoryFormat memory_format) -> Tensor"
_CPU = torch.device("cpu")
_INTEGERS = (int, torch.SymInt, numbers.Integral)
_CONTIGUOUS = torch.contiguous_format
_LAYOUT_DIMS = {torch.contiguous_format: None, torch.channels_last: 4, torch.channels_last_3d: 5}


def draw(
    op: registry.Op, direct: Callable[..., Tensor | None], size: Sequence[int], seeds: Seeds, stream: int,
    dtype: torch.dtype, device: torch.device | str, memory_format: torch.memory_format,
) -> Tensor:  # fmt: skip
    """Check the arguments of a noise function and call its op; ``direct`` is the op's direct call."""
    name = op.name
    if (device == "cpu" or device == _CPU) and memory_format is _CONTIGUOUS and registry.takes_direct_calls():
        out = direct(size, seeds, stream, dtype)
        if out is not None:
            return out
    if not isinstance(size, (list, tuple)):
        raise TypeError(f"{name}: size must be a sequence of ints, got {type(size).__name__}")
    if len(size) < 1 or any(isinstance(n, bool) or not isinstance(n, _INTEGERS) or n < 0 for n in size):
        raise ValueError(f"{name}: size must be [B, ...], ints with no negative entry, got {list(size)}")
    if dtype not in STORAGE and dtype != torch.float64:
        raise TypeError(f"{name}: dtype must be float32, float16, bfloat16 or float64, got {dtype}")
    if _LAYOUT_DIMS.get(memory_format, -1) not in (None, len(size)):
        raise ValueError(f"{name}: memory_format {memory_format} does not fit a size of {len(size)} dimensions")
    stream = check_stream(name, stream)
    if type(device) is not torch.device:
        try:
            device = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"{name}: device must be a torch.device or its name, got {device!r}") from error
    if device.type == "cpu":
        device = _CPU  # tensors know no "cpu:0"
    elif device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"{name}: device {device} was asked for, but no CUDA device is present")
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
    seeds = as_seeds(name, seeds, size[0], device)
    if registry.is_plain(seeds):
        return op.run(seeds, size, stream, dtype, memory_format)
    return op.call(seeds, size, stream, dtype, memory_format)


def empty(
    seeds: Tensor | int, size: Sequence[int], stream: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> Tensor:
    device = "cpu" if isinstance(seeds, int) else seeds.device
    if memory_format is torch.contiguous_format:
        return torch.empty(size, dtype=dtype, device=device)
    return torch.empty(size, dtype=dtype, device=device, memory_format=memory_format)


def native_call(
    function: Callable[..., None], out: Tensor, seeds: Tensor | int, stream: int, *cuda_stream: int
) -> None:
    batch = out.shape[0]
    _, seeds_pointer, seed = seed_arguments(seeds)
    function(
        out.data_ptr(),
        DTYPE_CODES[out.dtype],
        batch,
        out.numel() // batch if batch else 0,
        0 if out.is_contiguous() else out.shape[1],
        seeds_pointer,
        seed,
        stream,
        *cuda_stream,
    )


def op(name: str, reference: Callable[..., Tensor], truth: Callable[..., Tensor]) -> registry.Op:
    """The registry entry of a noise op whose kernels are ``<name>`` and ``<name>_cuda``."""

    def on_cpu(seeds, size, stream, dtype, memory_format):
        out = empty(seeds, size, stream, dtype, memory_format)
        native_call(getattr(native, name), out, seeds, stream)
        return out

    def on_cuda(seeds, size, stream, dtype, memory_format):
        out = empty(seeds, size, stream, dtype, memory_format)
        kernel = getattr(cuda_library(), f"{name}_cuda")
        native_call(kernel, out, seeds, stream, *current_stream(out.device))
        return out

    def in_triton(seeds, size, stream, dtype, memory_format):
        from genfast.ops._noise_triton import launch

        out = empty(seeds, size, stream, dtype, memory_format)
        launch(name, out, as_seeds(name, seeds, size[0], out.device), stream)
        return out

    def in_torch(seeds, size, stream, dtype, memory_format):
        device = "cpu" if isinstance(seeds, int) else seeds.device
        values = reference(as_seeds(name, seeds, size[0], device), stream, math.prod(size[1:]))
        return values.view(size).to(dtype).contiguous(memory_format=memory_format)

    def float64(seeds, size, stream, dtype, memory_format):
        return truth(seeds, stream, math.prod(size[1:])).view(size)

    return registry.Op(
        name=name,
        schema=SCHEMA,
        implementations={"cpu": on_cpu, "cuda": on_cuda, "triton": in_triton, "reference": in_torch},
        fake=empty,
        device=lambda seeds, *_: torch.device("cpu") if isinstance(seeds, int) else seeds.device,
        native_dtypes=lambda seeds, size, stream, dtype, memory_format: dtype in STORAGE,
        samples=samples,
        truth=float64,
    )


def samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    """Odd sizes, empty ones, every dtype and layout, seeds at the edges of int64, streams that carry."""
    dense, last = torch.contiguous_format, torch.channels_last
    for size, stream, dtype, layout in (
        ((3, 3, 16, 16), Stream.INITIAL, torch.float32, dense),
        ((2, 3, 7, 5), Stream.STEP + 999, torch.float32, dense),
        ((2, 3, 7, 5), Stream.STEP + 999, torch.float32, last),
        ((2, 16, 12, 12), 2**32 - 1, torch.float32, last),
        ((1, 1, 28, 28), Stream.TRAINING, torch.float16, dense),
        ((2, 5, 9, 11), Stream.TRAINING, torch.bfloat16, last),
        ((5, 1), Stream.INITIAL, torch.float32, dense),
        ((4,), Stream.INITIAL, torch.float32, dense),
        ((0, 3, 4, 4), Stream.INITIAL, torch.float32, dense),
        ((3, 0, 4, 4), Stream.INITIAL, torch.float32, dense),
        ((2, 10007), Stream.INITIAL, torch.float32, dense),
        ((2, 2, 3, 4, 5), Stream.INITIAL, torch.float32, torch.channels_last_3d),
    ):
        seeds = torch.randint(-(2**63), 2**63 - 1, (size[0],), generator=generator)
        yield registry.Sample(f"{list(size)} {dtype} {layout}", (seeds, list(size), int(stream), dtype, layout))
