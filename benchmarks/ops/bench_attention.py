"""genfast.attention beside its baselines: ``pytest benchmarks/ops/bench_attention.py --benchmark-only``."""


def bench_attention(measure, case, contender):
    measure(case, contender)
