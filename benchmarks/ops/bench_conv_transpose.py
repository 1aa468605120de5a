"""genfast.conv_transpose2d_act beside its baselines:
``pytest benchmarks/ops/bench_conv_transpose.py --benchmark-only``.
"""


def bench_conv_transpose(measure, case, contender):
    measure(case, contender)
