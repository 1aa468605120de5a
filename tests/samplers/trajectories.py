"""Trajectories whose every bit is determined; run as a script, those of Triton's interpreter against plain PyTorch."""

from __future__ import annotations

import torch

import genfast
from genfast.samplers import names

SHAPE = (1, 5, 6)
COSINE, FLOW = genfast.Schedule.cosine(), genfast.Schedule.flow(shift=2.0)


def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Elementwise and each operation rounded once, so that no batch, position or device can change its bits."""
    return 0.75 * x + t.to(x.dtype).reshape(-1, 1, 1, 1) * 2.0**-13 - 0.0625


def make(name: str, **options: object) -> genfast.Sampler:
    return genfast.Sampler(name, FLOW if name.startswith("flow") else COSINE, clip=2.0, **options)


def main() -> None:
    """Print the name of every sampler that has the same bits."""
    import faithful  # noqa: F401  (the interpreter rounds as a GPU does)

    torch.set_num_threads(1)
    for name in names():
        ends = []
        for backend in ("reference", "triton"):
            with genfast.backend(backend):
                ends.append(make(name).sample(model, (2, *SHAPE), steps=3, seeds=5))
        if torch.equal(*ends):
            print(name)


if __name__ == "__main__":
    main()
