"""The losses of VAEs beside their baselines: ``pytest benchmarks/ops/bench_vae_loss.py --benchmark-only``."""


def bench_vae_loss(measure, case, contender):
    measure(case, contender)
