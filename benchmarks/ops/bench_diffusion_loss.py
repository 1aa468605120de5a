"""genfast.diffusion_loss beside its baselines: ``pytest benchmarks/ops/bench_diffusion_loss.py --benchmark-only``."""


def bench_diffusion_loss(measure, case, contender):
    measure(case, contender)
