"""genfast.bias_act beside its baselines: ``pytest benchmarks/ops/bench_bias_act.py --benchmark-only``."""


def bench_bias_act(measure, case, contender):
    measure(case, contender)
