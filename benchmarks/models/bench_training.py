"""Training steps beside their twins: ``pytest benchmarks/models/bench_training.py --benchmark-only``."""


def bench_training(measure, case, contender):
    measure(case, contender)
