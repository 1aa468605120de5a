"""The networks beside their baselines: ``pytest benchmarks/models/bench_models.py --benchmark-only``."""


def bench_models(measure, case, contender):
    measure(case, contender)
