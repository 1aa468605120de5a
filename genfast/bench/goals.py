"""What genfast must reach on two CPU threads: the one place that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genfast.bench.case import Case
from genfast.bench.goal import AnyGoal, Goal, GroupGoal
from genfast.bench.record import Record

FAMILIES = ("sampling", "conv", "norm", "linear", "models", "training", "losses")
"""What ``--suite goals-<family>`` takes."""

_SMALL, _LATENT, _LARGE, _BATCH = (1, 1, 28, 28), (1, 4, 64, 64), (8, 3, 256, 256), (64, 4, 128, 128)


def _sampling() -> tuple[AnyGoal, ...]:
    step = "sampler_step"
    goals = [
        Goal("normal_noise", "", (1, 3_000_000), "eager", "speedup", 12),
        Goal("normal_noise", "", (1, 16384), "eager", "speedup", 6),
        Goal(step, "ddpm", _LATENT, "eager", "speedup", 7),
        Goal(step, "ddpm", _LARGE, "eager", "speedup", 13),
        Goal(step, "ddpm", _LARGE, "diffusers_ddpm", "speedup", 12),
        Goal(step, "ddim_eta1", _LARGE, "diffusers_ddim", "speedup", 12),
        Goal(step, "ddim", _LARGE, "eager", "speedup", 8),
        Goal(step, "ddim", _LARGE, "compile", "speedup", 1.3),
        Goal(step, "ddim", _LARGE, "diffusers_ddim", "speedup", 10),
        Goal(step, "dpmpp_2m", _LARGE, "diffusers_dpmpp_2m", "speedup", 10),
        Goal(step, "ddim", _BATCH, "eager", "share_of_copy", 0.85, prefer="cold"),
        Goal("add_noise", "noise", _LATENT, "eager", "speedup", 10),
        Goal("add_noise", "noise", _LARGE, "eager", "speedup", 10),
    ]
    for shape in ((16, 3, 64, 64), _LARGE, _BATCH):
        for variant in ("epsilon", "v_min_snr", "epsilon_kept", "v_min_snr_kept"):
            goals.append(Goal("diffusion_loss", variant, shape, "eager", "speedup", 4, mode="forward_backward"))
    for op, variant in (("normal_noise", ""), ("uniform_noise", "")):
        goals.append(Goal(op, variant, (1, 784), "eager", "median_us", 6))
    for op, variant in ((step, "ddpm"), (step, "ddim"), ("add_noise", "noise"), ("diffusion_loss", "epsilon")):
        goals.append(Goal(op, variant, _SMALL, "eager", "median_us", 6))
    return tuple(goals)


# Batch, channels, and height and width of the 3x3 convolutions that keep all three.
_SQUARE = (
    (1, 64, 64), (1, 128, 64), (4, 128, 32), (1, 320, 64), (1, 256, 128), (8, 256, 16), (16, 128, 16), (4, 256, 8),
)  # fmt: skip


def _conv() -> tuple[AnyGoal, ...]:
    def square(batch: int, channels: int, size: int, baseline: str, option: str = "", **facts: Any) -> Goal:
        variant = f"3x3 to {channels} silu {option}".rstrip()
        shape = (batch, channels, size, size)
        return Goal("conv2d_act", variant, shape, baseline, "speedup", 1, family="conv", **facts)

    def squares(baseline: str, option: str = "", only: Sequence[int] = range(8), **facts: Any) -> tuple[Goal, ...]:
        return tuple(square(*_SQUARE[k], baseline, option, **facts) for k in only)

    def best(op: str, variant: str, shape: tuple[int, ...], bound: float) -> list[Goal]:
        return [
            Goal(op, variant, shape, b, "speedup", bound, family="conv") for b in ("eager_best", "compile_freezing")
        ]

    wide, avx2 = squares("onednn", isa="avx512"), squares("onednn", isa="avx2")
    transposed = "conv_transpose2d_act"
    shrinking = [(512, 4, 256), (256, 8, 128), (128, 16, 64)]
    many = [best(transposed, f"4x4 /2 to {out} relu", (16, c, size, size), 1) for c, size, out in shrinking]
    return (
        GroupGoal("3x3 + SiLU", wide, 3.0),
        GroupGoal("3x3 + SiLU", wide, 1.8, smallest=True),
        GroupGoal("3x3 + SiLU, cold weights", tuple(replace(g, prefer="cold") for g in wide), 1.0, smallest=True),
        GroupGoal("3x3 + SiLU, exact", squares("onednn", "exact", isa="avx512"), 1.9),
        GroupGoal("3x3 + SiLU, AVX2 on both sides", avx2, 2.0),
        GroupGoal("3x3 + SiLU, contiguous", squares("eager", "contiguous", isa="avx512"), 2.8),
        GroupGoal("3x3 + SiLU, bfloat16", squares("onednn", only=(1, 2, 3), dtype="bfloat16"), 1.5),
        GroupGoal("3x3 + SiLU, with backward", squares("eager_best", only=(0, 2, 6), mode="forward_backward"), 1.6),
        *best("conv2d_act", "3x3 to 3 tanh", (1, 64, 64, 64), 4.5),
        *best("conv2d_act", "3x3 to 3 tanh", (1, 128, 64, 64), 4.5),
        *best(transposed, "4x4 /2 to 3 tanh", (16, 64, 32, 32), 6.5),
        *best(transposed, "4x4 /2 to 1 tanh", (16, 64, 32, 32), 9),
        *(
            GroupGoal("transposed 4x4 /2 + ReLU", tuple(goals), 1.0, smallest=True)
            for goals in zip(*many, strict=True)
        ),
        Goal("conv2d_act", "3x3 to 8 contiguous", (1, 8, 8, 8), "eager", "extra_us", 10, family="conv"),
    )  # fmt: skip


def _norm() -> tuple[AnyGoal, ...]:
    shapes = ((1, 128, 32, 32), (16, 128, 32, 32), (16, 256, 16, 16), (1, 320, 64, 64))
    return tuple(
        GroupGoal(
            f"group_norm_act, {layout}",
            tuple(Goal("group_norm_act", layout, shape, baseline, "speedup", bound, family="norm") for shape in shapes),
            bound,
        )
        for layout in ("contiguous", "channels_last")
        for baseline, bound in (("eager_best", 2.6), ("compile", 2.5))
    )


def _linear() -> tuple[AnyGoal, ...]:
    layers = (((1024, 1024), "to 1024 silu"), ((4096, 320), "to 1280 gelu"))
    return tuple(
        Goal("linear_act", variant, shape, "eager", "speedup", 1.8, family="linear") for shape, variant in layers
    )


def _models() -> tuple[AnyGoal, ...]:
    network = "ddpm_cifar10"
    bounds = (
        (16, "eager_best", 2.3),
        (16, "compile_freezing", 2.0),
        (1, "eager_best", 2.0),
        (1, "compile_freezing", 1.5),
    )
    found: list[AnyGoal] = [
        Goal("model", network, (batch, 3, 32, 32), baseline, "speedup", bound, family="models")
        for batch, baseline, bound in bounds
    ]
    # With a batch of one nearly all of the first call is tuning and packing.
    first = f"{network} first call"
    found.append(Goal("model", first, (1, 3, 32, 32), "eager", "median_us", 1e6, family="models"))
    digits = [Goal("model", "digits", (n, 1, 8, 8), "eager_best", "speedup", 1, family="models") for n in (1, 16)]
    return (*found, *digits)


def _training() -> tuple[AnyGoal, ...]:
    digits, large = (64, 1, 8, 8), (16, 3, 64, 64)
    bounds = [("mlp_gan", digits, "eager", 1.5), ("vae_mlp", digits, "eager", 1.5)]
    convolutional = [("dcgan", digits), ("least_squares", digits), ("vae_conv", digits), ("dcgan_64", large)]
    bounds += [(name, shape, beside, 1.0) for name, shape in convolutional for beside in ("eager", "eager_best")]
    return tuple(
        Goal("training", name, shape, beside, "speedup", bound, "forward_backward", family="training")
        for name, shape, beside, bound in bounds
    )


def _losses() -> tuple[AnyGoal, ...]:
    def goal(op: str, variant: str, shape: tuple[int, ...], bound: float) -> Goal:
        return Goal(op, variant, shape, "eager", "speedup", bound, mode="forward_backward", family="losses")

    return (
        goal("gan_loss", "non_saturating in one call", (64,), 5),
        goal("gan_loss", "non_saturating in one call", (16, 1, 30, 30), 3),
        # Where the loss is a node of the graph, autograd's own time on it alone is about half of eager's.
        goal("gan_loss", "non_saturating", (64,), 5),
        goal("gan_loss", "non_saturating", (16, 1, 30, 30), 3),
        *(goal("gaussian_kl", "", shape, 4) for shape in ((64, 128), (64, 4, 32, 32))),
    )


GOALS: tuple[AnyGoal, ...] = (
    *_sampling(), *_conv(), *_norm(), *_linear(), *_models(), *_training(), *_losses(),
)  # fmt: skip


def of_family(family: str) -> tuple[AnyGoal, ...]:
    """The goals of a family of ops; of all for ``""``."""
    return tuple(goal for goal in GOALS if family in ("", goal.family))


def select(cases: Iterable[Case], wanted: Sequence[AnyGoal] = GOALS) -> list[Case]:
    """The cases that goals speak of, each with only the baselines they name."""
    cases = list(cases)
    names: dict[int, set[str]] = {}
    for goal in {member for one in wanted for member in one.members}:
        fitting = [k for k, case in enumerate(cases) if goal.wants(case)]
        for k in [k for k in fitting if cases[k].cache == goal.prefer] or fitting:
            names.setdefault(k, set()).add(goal.baseline)
    return [cases[k].only(names[k]) for k in sorted(names)]


@dataclass(frozen=True)
class Outcome:
    """A goal beside what was measured; ``value`` None where it was not."""

    goal: AnyGoal
    value: float | None

    @property
    def met(self) -> bool:
        return self.value is not None and self.goal.met(self.value)


def outcomes(records: Iterable[Record], wanted: Sequence[AnyGoal] = GOALS) -> list[Outcome]:
    """Every goal beside the last records about it."""
    records = list(records)
    return [Outcome(goal, goal.value(records)) for goal in wanted]
