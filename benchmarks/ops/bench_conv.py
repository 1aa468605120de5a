"""genfast.conv2d_act beside its baselines: ``pytest benchmarks/ops/bench_conv.py --benchmark-only``."""


def bench_conv(measure, case, contender):
    measure(case, contender)
