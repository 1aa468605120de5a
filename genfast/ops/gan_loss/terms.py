"""What the kinds of GAN losses are made of: one function of a logit for each side's real and fake images."""

from __future__ import annotations

from typing import NamedTuple

SIDES = ("discriminator", "generator")
FORMS = ("none", "logistic", "saturating", "hinge", "linear", "square")
PAIRINGS = ("none", "average", "paired")

RELATIVISTIC = {"relativistic_average": "average", "relativistic_paired": "paired"}


class Term(NamedTuple):
    """A function of one number x, for ``d = direction``, which is 1 or -1, and ``p = parameter``.

    * ``logistic``: ``softplus(d x) + p x``, binary cross entropy whose label is smoothed by p;
    * ``saturating``: ``-softplus(d x)``;
    * ``hinge``: ``max(0, 1 + d x)``;
    * ``linear``: ``d x``;
    * ``square``: ``(x - p)^2 / 2``;
    * ``none``: these logits play no part.
    """

    form: str
    direction: float = 1.0
    parameter: float = 0.0

    @property
    def codes(self) -> tuple[int, float, float]:
        """What csrc/ops/gan_loss/gan_loss.h takes."""
        return FORMS.index(self.form), self.direction, self.parameter


NONE = Term("none")
# Sigmoid cross entropy with a label of 1, and with a label of 0: -log D and -log(1 - D).
IS_REAL, IS_FAKE = Term("logistic", -1.0), Term("logistic", 1.0)

# For each kind the terms of real and of fake logits: the discriminator's, then the generator's. That of a pair is a
# function of fake - real. What ``smoothing`` and the targets a, b and c change is in :func:`terms`.
TERMS: dict[str, tuple[tuple[Term, Term], tuple[Term, Term]]] = {
    "minimax": ((IS_REAL, IS_FAKE), (NONE, Term("saturating", 1.0))),
    "non_saturating": ((IS_REAL, IS_FAKE), (NONE, IS_REAL)),
    "bce": ((IS_REAL, IS_FAKE), (NONE, IS_REAL)),
    "hinge": ((Term("hinge", -1.0), Term("hinge", 1.0)), (NONE, Term("linear", -1.0))),
    "least_squares": ((Term("square"), Term("square")), (NONE, Term("square"))),
    "wasserstein": ((Term("linear", -1.0), Term("linear", 1.0)), (NONE, Term("linear", -1.0))),
    "relativistic_average": ((IS_REAL, IS_FAKE), (IS_FAKE, IS_REAL)),
    "relativistic_paired": ((NONE, IS_FAKE), (NONE, IS_REAL)),
}
KINDS = tuple(TERMS)


def terms(kind: str, side: str, smoothing: float, a: float, b: float, c: float) -> tuple[Term, Term]:
    """The terms of the real and of the fake logits."""
    real, fake = TERMS[kind][SIDES.index(side)]
    if kind == "least_squares":
        return (Term("square", 1.0, b), Term("square", 1.0, a)) if side == SIDES[0] else (NONE, Term("square", 1.0, c))
    # One-sided: the label of real images alone, and the generator has none to smooth.
    if kind == "bce" and side == SIDES[0]:
        real = real._replace(parameter=smoothing)
    return real, fake


def pairing(kind: str) -> str:
    """Whether a logit is taken by itself, from the other side's average, or from its pair."""
    return RELATIVISTIC.get(kind, "none")


def reads_real(kind: str, side: str) -> bool:
    """Whether the loss depends on the real logits."""
    return side == SIDES[0] or kind in RELATIVISTIC
