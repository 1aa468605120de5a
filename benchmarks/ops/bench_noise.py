"""genfast.normal_noise and uniform_noise beside torch: ``pytest benchmarks/ops/bench_noise.py --benchmark-only``."""


def bench_noise(measure, case, contender):
    measure(case, contender)
