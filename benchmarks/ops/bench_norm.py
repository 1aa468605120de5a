"""genfast.group_norm_act beside its baselines: ``pytest benchmarks/ops/bench_norm.py --benchmark-only``."""


def bench_norm(measure, case, contender):
    measure(case, contender)
