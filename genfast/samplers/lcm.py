"""Latent consistency models."""

from __future__ import annotations

from genfast.samplers.grid import Grid
from genfast.samplers.program import Row
from genfast.samplers.solvers import solver


@solver("lcm", finite=False, spacing="distilled", flow="no")
def rows(grid: Grid, *, timestep_scaling: float = 10.0, sigma_data: float = 0.5) -> list[Row]:
    """Multistep consistency sampling (Luo et al. 2023, algorithm 3; Song et al. 2023): predict x0, noise it anew."""
    result = []
    for i, (p, q) in enumerate(grid.steps()):
        scaled = p.t * timestep_scaling
        total = scaled**2 + sigma_data**2
        skip, out = sigma_data**2 / total, scaled / total**0.5
        last = i + 1 == len(grid)
        alpha = 1.0 if last else q.a
        result.append(Row(p, q, alpha * skip, alpha * out, noise=0.0 if last else q.s))
    return result
