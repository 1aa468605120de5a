"""genfast.sampler_step beside its baselines: ``pytest benchmarks/ops/bench_sampler_step.py --benchmark-only``."""


def bench_sampler_step(measure, case, contender):
    measure(case, contender)
