"""genfast.linear_act beside its baselines: ``pytest benchmarks/ops/bench_linear.py --benchmark-only``."""


def bench_linear(measure, case, contender):
    measure(case, contender)
