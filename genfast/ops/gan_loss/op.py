"""The op torch.ops.genfast.gan_loss: its implementations, its gradient and its registration."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops._loss import empty
from genfast.ops.diffusion_loss.reference import REDUCTIONS
from genfast.ops.gan_loss import reference
from genfast.ops.gan_loss.samples import samples
from genfast.ops.gan_loss.terms import PAIRINGS, pairing, terms


class Options(NamedTuple):
    """What the op is given beside tensors, in the order of its schema."""

    kind: str
    side: str
    smoothing: float
    a: float
    b: float
    c: float
    reduction: str

    @property
    def formula(self) -> tuple[str, str, float, float, float, float]:
        return self[:-1]


@lru_cache(maxsize=256)
def codes(options: Options) -> tuple[Any, ...]:
    """The options as the native library takes them: both terms, the pairing and the reduction."""
    real, fake = terms(*options.formula)
    kind = PAIRINGS.index(pairing(options.kind))
    return (*real.codes, *fake.codes, kind, REDUCTIONS.index(options.reduction))


def _outputs(fake: Tensor, reduction: str, real_gradient: bool, fake_gradient: bool) -> tuple[Tensor, ...]:
    loss = empty(fake, reduction)
    gradients = (
        torch.empty_like(fake, dtype=loss.dtype) if wanted else loss.new_empty(0)
        for wanted in (real_gradient, fake_gradient)
    )
    return loss, *gradients, fake.new_empty(2, dtype=torch.float32)


def _launch(
    kernel: Any, real: Tensor | None, fake: Tensor, weight: Tensor | None, options: Options, real_gradient: bool,
    fake_gradient: bool, *workspace: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    fake, _, layout = _check.layout(fake)
    real = _check.in_layout(real, layout)
    loss, by_real, by_fake, shares = _outputs(fake, options.reduction, real_gradient, fake_gradient)
    batch = fake.shape[0]
    numel = fake.numel() // batch if batch else 1  # of a sample that is not there: what its sum is divided by
    kernel(
        _check.pointer(real), fake.data_ptr(), DTYPE_CODES[fake.dtype], batch, numel, _check.pointer(weight),
        *codes(options), loss.data_ptr(), by_real.data_ptr() if real_gradient else 0,
        by_fake.data_ptr() if fake_gradient else 0, shares.data_ptr(), *workspace,
    )  # fmt: skip
    return loss, by_real, by_fake, shares


def _split(arguments: tuple[Any, ...]) -> tuple[Options, bool, bool]:
    *options, real_gradient, fake_gradient = arguments
    return Options(*options), real_gradient, fake_gradient


def _cpu(real: Tensor | None, fake: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    return _launch(native.gan_loss, real, fake, weight, *_split(rest), 0)


def _cuda(real: Tensor | None, fake: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    library = cuda_library()
    options, *wanted = _split(rest)
    batch = fake.shape[0]
    flat = weight is None and options.reduction != "none"
    size = library.gan_loss_workspace(batch, fake.numel() // batch if batch else 0, flat)
    workspace = fake.new_empty(size, dtype=torch.float64)
    return _launch(
        library.gan_loss_cuda, real, fake, weight, options, *wanted, workspace.data_ptr(), *current_stream(fake.device)
    )


def _triton(real: Tensor | None, fake: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    from genfast.ops.gan_loss.triton_kernel import launch

    options, *wanted = _split(rest)
    fake, _, layout = _check.layout(fake)
    real = _check.in_layout(real, layout)
    outputs = _outputs(fake, options.reduction, *wanted)
    loss, by_real, by_fake, shares = outputs
    launch(real, fake, weight, options, loss, by_real if wanted[0] else None, by_fake if wanted[1] else None, shares)
    return outputs


def _fake(real: Tensor | None, fake: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    options, *wanted = _split(rest)
    dense = torch.empty_like(fake, memory_format=_check.memory_format(fake))
    return _outputs(dense, options.reduction, *wanted)


def _truth(real: Tensor | None, fake: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    wide = (None if t is None else t.double() for t in (real, weight))
    real, weight = wide
    return reference.gan_loss(real, fake.double(), weight, *rest)


def _setup_context(ctx, inputs, output):
    real, fake, weight, *rest = inputs
    _, by_real, by_fake, shares = output
    ctx.save_for_backward(real, fake, weight, by_real, by_fake)
    ctx.mark_non_differentiable(by_real, by_fake, shares)
    ctx.set_materialize_grads(False)
    ctx.options, *ctx.wanted = _split(tuple(rest))


def _backward(ctx, grad, *_):
    real, fake, weight, by_real, by_fake = ctx.saved_tensors
    nothing = (None,) * 10
    if grad is None:
        return None, None, *nothing
    needs = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
    written = all(wanted or not needed for wanted, needed in zip(ctx.wanted, needs, strict=True))
    if torch.is_grad_enabled() or ctx.options.reduction == "none" or not written:
        return *weighted_gradients(grad, real, fake, weight, ctx.options, needs), *nothing
    grads = (by_real if needs[0] else None, by_fake if needs[1] else None)
    return *(None if g is None else (g * grad).to(fake.dtype) for g in grads), *nothing


def weighted_gradients(
    grad: Tensor, real: Tensor | None, fake: Tensor, weight: Tensor | None, options: Options, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients for the loss's own gradient, which may be one per sample; differentiable again.

    They are those of a sum of the samples' losses by other weights.
    """
    scale = reference.scales(fake, weight, options.reduction) * grad
    if torch.is_grad_enabled():
        by_real, by_fake = reference.gradients(real, fake, scale, *options.formula)
    else:
        scale = scale.expand(fake.shape[0]).contiguous()
        summed = options._replace(reduction="sum")
        _, by_real, by_fake, _ = OP.call(real, fake, scale, *summed, *needs)
    by_real = by_real.to(fake.dtype) if needs[0] and by_real is not None else None
    return by_real, by_fake.to(fake.dtype) if needs[1] else None


OP = registry.register(
    registry.Op(
        name="gan_loss",
        schema=(
            "(Tensor? real, Tensor fake, Tensor? weight, str kind, str side, float smoothing, float a, float b,"
            " float c, str reduction, bool real_gradient, bool fake_gradient) -> (Tensor, Tensor, Tensor, Tensor)"
        ),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": reference.gan_loss},
        fake=_fake,
        device=lambda real, fake, *_: fake.device,
        native_dtypes=lambda real, fake, *_: fake.dtype in STORAGE,
        samples=samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1),
        bitwise=False,
    )
)
