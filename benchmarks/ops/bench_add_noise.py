"""genfast.add_noise beside its baselines: ``pytest benchmarks/ops/bench_add_noise.py --benchmark-only``."""


def bench_add_noise(measure, case, contender):
    measure(case, contender)
