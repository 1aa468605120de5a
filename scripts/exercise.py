"""Runs every op once on the GPU, on all of its sample inputs: what compute-sanitizer looks at."""

from __future__ import annotations

import os
from typing import Any

# Every tensor becomes an allocation of its own, so that an access past one is an access past an allocation.
os.environ["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"

import torch

import genfast
from genfast.registry import ops


def on_gpu(value: Any) -> Any:
    if isinstance(value, list):
        return [on_gpu(v) for v in value]
    return value.cuda() if isinstance(value, torch.Tensor) else value


def main() -> None:
    calls = 0
    with genfast.backend("cuda"):
        for op in ops.values():
            for sample in op.samples(torch.Generator().manual_seed(3)):
                if op.native_dtypes(*sample.args):
                    op.run(*(on_gpu(argument) for argument in sample.args))
                    calls += 1
    torch.cuda.synchronize()
    print(f"{calls} calls of {len(ops)} ops")


if __name__ == "__main__":
    main()
