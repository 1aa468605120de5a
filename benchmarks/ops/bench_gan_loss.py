"""genfast.gan_loss beside its baselines: ``pytest benchmarks/ops/bench_gan_loss.py --benchmark-only``."""


def bench_gan_loss(measure, case, contender):
    measure(case, contender)
