"""The training loss of diffusion and flow-matching models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops.diffusion_loss import reference
from genfast.ops.diffusion_loss.reference import REDUCTIONS, TARGETS
from genfast.random import Seeds, Stream, as_seeds, check_stream

WEIGHTS = ("min_snr", "p2")


def loss_weight(
    alpha: Tensor, sigma: Tensor, kind: str, *, target: str = "epsilon", gamma: float | None = None, k: float = 1.0
) -> Tensor:
    """Per-sample weights of the denoising loss, from the signal-to-noise ratio ``snr = alpha^2 / sigma^2``.

    As a weight w of ``||x0_hat - x_0||^2``:

    * ``"min_snr"``: ``w = min(snr, gamma)``, gamma 5 by default (Hang et al. 2023, eq. 9);
    * ``"p2"``: ``w = snr / (k + snr)^gamma``, gamma 1 by default (Choi et al. 2022, eq. 8).

    A loss on another target is the x0 loss times a factor of t, which is divided out: epsilon
    ``w / snr``; v and flow ``w * sigma^2``.

    Args:
        alpha, sigma: ``[B]``, as :func:`genfast.add_noise` takes them.
        kind: ``"min_snr"`` or ``"p2"``.
        target: what the model predicts, as in :func:`genfast.diffusion_loss`.
        gamma, k: the constants of the formulas.

    Returns:
        ``[B]``, in the dtype of ``alpha``.
    """
    _check_choice("loss_weight", "kind", kind, WEIGHTS)
    _check_choice("loss_weight", "target", target, TARGETS)
    snr = (alpha / sigma).square()
    if kind == "min_snr":
        weight = snr.clamp(max=5.0 if gamma is None else gamma)
    else:
        weight = snr / (k + snr) ** (1.0 if gamma is None else gamma)
    if target == "epsilon":
        # At zero terminal SNR the ratio 0 / 0 stands for the limit of both formulas.
        limit = 1.0 if kind == "min_snr" else k ** -(1.0 if gamma is None else gamma)
        return torch.where(snr > 0, weight / snr, limit)
    return weight if target == "x0" else weight * sigma.square()


def _check_choice(op: str, name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{op}: {name} must be one of {', '.join(known)}, got {value!r}")


def diffusion_loss(
    model_output: Tensor,
    x_start: Tensor,
    alpha: float | Tensor,
    sigma: float | Tensor,
    *,
    target: str = "epsilon",
    weight: Tensor | str | None = None,
    seeds: Seeds | None = None,
    stream: int = Stream.TRAINING,
    noise: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The weighted squared error of a denoising model, with its gradient in the same pass.

    ``loss_b = w_b * mean_i (m_bi - target_bi)^2``, where m is the model output and the target is

    * ``"epsilon"``: z (Ho et al. 2020, eq. 14);
    * ``"v"``: ``alpha * z - sigma * x_0`` (Salimans and Ho 2022, section 4);
    * ``"x0"``: x_0;
    * ``"flow"``: ``z - x_0`` (Lipman et al. 2023), for ``alpha = 1 - t, sigma = t``.

    z is regenerated from the seeds that made x_t in :func:`genfast.add_noise`; nothing of the size
    of the images is stored but the gradient, which is a new tensor. Sums are taken in a fixed order.

    Args:
        model_output: m ``[B, ...]``: float32, float16, bfloat16, or float64 (plain PyTorch).
        x_start: clean images x_0, shape of ``model_output``, any of these dtypes.
        alpha, sigma: a number, or one per sample; as given to :func:`genfast.add_noise`.
        target: what the model predicts.
        weight: ``[B]`` weights w, or ``"min_snr"`` or ``"p2"`` as :func:`genfast.loss_weight` computes them.
        seeds, stream: as given to :func:`genfast.add_noise`.
        noise: the noise z itself, like ``x_start``; instead of ``seeds``.
        reduction: ``"mean"`` over the batch, ``"sum"`` over the batch, or ``"none"``: one loss per sample, ``[B]``.

    Returns:
        The loss: float32 (float64 for a float64 ``model_output``), a scalar or ``[B]``. Differentiable
        by ``model_output``, ``x_start`` and ``noise``, twice; ``alpha``, ``sigma`` and ``weight`` are constants.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices or choices.
    """
    name = "diffusion_loss"
    if isinstance(weight, str):
        _check.floating(name, "model_output", model_output)
        _check.batched(name, "model_output", model_output)
        alpha = _check.per_sample(name, "alpha", alpha, model_output, "model_output")
        sigma = _check.per_sample(name, "sigma", sigma, model_output, "model_output")
        weight = loss_weight(alpha, sigma, weight, target=target)
    if registry.takes_direct_calls() and target in TARGETS and reduction in REDUCTIONS:
        arguments = (model_output, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction)
        loss = _direct_loss(*arguments)
        if loss is not None:
            return loss
    _check.floating(name, "model_output", model_output)
    _check.batched(name, "model_output", model_output)
    _check.like(name, "x_start", x_start, model_output, "model_output")
    _check_choice(name, "target", target, TARGETS)
    _check_choice(name, "reduction", reduction, REDUCTIONS)
    alpha = _check.per_sample(name, "alpha", alpha, model_output, "model_output")
    sigma = _check.per_sample(name, "sigma", sigma, model_output, "model_output")
    if weight is not None:
        weight = _check.per_sample(name, "weight", weight, model_output, "model_output")
    drawn = _check.noise_source(name, seeds, noise, x_start, "x_start")
    stream = check_stream(name, stream)
    if registry.is_plain(model_output, x_start, noise):
        return OP.run(
            model_output, x_start, alpha, sigma, weight, noise, drawn, stream, target, reduction, False
        )[0]  # fmt: skip
    if drawn is not None:
        drawn = as_seeds(name, drawn, model_output.shape[0], model_output.device)
    with_gradient = _wants_gradient(model_output, x_start, noise)
    return OP.overload(
        model_output, x_start, alpha, sigma, weight, noise, drawn, stream, target, reduction, with_gradient
    )[0]  # fmt: skip


def _wants_gradient(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in tensors)


def _direct_loss(model_output, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction):
    """The loss by a direct call, or None where the native library declines."""
    if _wants_gradient(model_output, x_start, noise):
        return _DirectLoss.apply(
            model_output, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction
        )  # fmt: skip
    result = native.diffusion_loss_direct(
        False, model_output, x_start, alpha, sigma, weight, noise, seeds, stream, TARGETS.index(target),
        REDUCTIONS.index(reduction), False,
    )  # fmt: skip
    return None if result is None else result[0]


class _DirectLoss(torch.autograd.Function):
    """What registered autograd does for the op, with a tenth of its cost on a small image."""

    @staticmethod
    def forward(ctx, model_output, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction):
        result = native.diffusion_loss_direct(
            False, model_output, x_start, alpha, sigma, weight, noise, seeds, stream, TARGETS.index(target),
            REDUCTIONS.index(reduction), True,
        )  # fmt: skip
        if result is None:
            return None
        loss, gradient = result
        ctx.save_for_backward(model_output, x_start, noise, gradient)
        ctx.constants = alpha, sigma, weight, seeds
        ctx.choices = stream, target, reduction
        ctx.set_materialize_grads(False)
        return loss

    @staticmethod
    def backward(ctx, grad_loss):
        if grad_loss is None:
            return (None,) * 10
        m, x_start, noise, gradient = ctx.saved_tensors
        alpha, sigma, weight, seeds = ctx.constants
        needs = ctx.needs_input_grad
        only_m = needs[0] and not (needs[1] or needs[5])
        if only_m and not torch.is_grad_enabled() and grad_loss.dim() == 0 and float(grad_loss) == 1.0:
            return gradient, *[None] * 9
        alpha, sigma = (_check.per_sample("diffusion_loss", "alpha", v, m, "model_output") for v in (alpha, sigma))
        if seeds is not None:
            seeds = as_seeds("diffusion_loss", seeds, m.shape[0], m.device)
        inputs = m, x_start, alpha, sigma, weight, noise, seeds
        grads = _gradients(grad_loss, inputs, ctx.choices, gradient, (needs[0], needs[1], needs[5]))
        return grads[0], grads[1], None, None, None, grads[2], *[None] * 4


def _outputs(m: Tensor, reduction: str, with_gradient: bool) -> tuple[Tensor, Tensor]:
    dtype = torch.float64 if m.dtype == torch.float64 else torch.float32
    loss = m.new_empty(m.shape[:1] if reduction == "none" else (), dtype=dtype)
    return loss, torch.empty_like(m) if with_gradient else m.new_empty(0)


def _launch(
    kernel: Any, m: Tensor, x_start: Tensor, alpha: Tensor, sigma: Tensor, weight: Tensor | None, noise: Tensor | None,
    seeds: Tensor | int | None, stream: int, target: str, reduction: str, with_gradient: bool, *workspace: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    m, channels, layout = _check.layout(m)
    x_start, noise = x_start.contiguous(memory_format=layout), _check.in_layout(noise, layout)
    loss, gradient = _outputs(m, reduction, with_gradient)
    batch = m.shape[0]
    _, seeds_pointer, seed = _check.seed_arguments(seeds)
    kernel(
        m.data_ptr(), DTYPE_CODES[m.dtype], x_start.data_ptr(), DTYPE_CODES[x_start.dtype],
        batch, m.numel() // batch if batch else 0, channels,
        alpha.data_ptr(), sigma.data_ptr(), _check.pointer(weight), _check.pointer(noise), seeds_pointer, seed, stream,
        TARGETS.index(target), REDUCTIONS.index(reduction), loss.data_ptr(),
        gradient.data_ptr() if with_gradient else 0, *workspace,
    )  # fmt: skip
    return loss, gradient


def _cpu(*args: Any) -> tuple[Tensor, Tensor]:
    return _launch(native.diffusion_loss, *args, 0)


def _cuda(m: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    library = cuda_library()
    batch = m.shape[0]
    partial = m.new_empty(
        library.diffusion_loss_workspace(batch, m.numel() // batch if batch else 0), dtype=torch.float64
    )
    return _launch(library.diffusion_loss_cuda, m, *args, partial.data_ptr(), *current_stream(m.device))


def _triton(m, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction, with_gradient):
    from genfast.ops.diffusion_loss.triton_kernel import launch

    m, channels, layout = _check.layout(m)
    loss, gradient = _outputs(m, reduction, with_gradient)
    if seeds is not None:
        seeds = as_seeds("diffusion_loss", seeds, m.shape[0], m.device)
    launch(
        m, x_start.contiguous(memory_format=layout), channels, alpha, sigma, weight, _check.in_layout(noise, layout),
        seeds, stream, target, reduction, loss, gradient if with_gradient else None,
    )  # fmt: skip
    return loss, gradient


def _reference(m, x_start, alpha, sigma, weight, noise, seeds, *rest):
    if seeds is not None:
        seeds = as_seeds("diffusion_loss", seeds, m.shape[0], m.device)
    return reference.diffusion_loss(m, x_start, alpha, sigma, weight, noise, seeds, *rest)


def _fake(m, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction, with_gradient):
    dense = torch.empty_like(m, memory_format=_check.memory_format(m)) if with_gradient else m
    return _outputs(dense, reduction, with_gradient)


def _truth(m, x_start, alpha, sigma, weight, *rest):
    wide = None if weight is None else weight.double()
    return reference.diffusion_loss(m.double(), x_start.double(), alpha.double(), sigma.double(), wide, *rest)


def _setup_context(ctx, inputs, output):
    m, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction, _ = inputs
    gradient = output[1]
    ctx.save_for_backward(m, x_start, alpha, sigma, weight, noise, seeds, gradient)
    ctx.mark_non_differentiable(gradient)
    ctx.set_materialize_grads(False)
    ctx.choices = stream, target, reduction


def _backward(ctx, grad_loss, grad_gradient):
    *inputs, gradient = ctx.saved_tensors
    if grad_loss is None:
        return (None,) * 11
    needs = ctx.needs_input_grad
    grads = _gradients(grad_loss, inputs, ctx.choices, gradient, (needs[0], needs[1], needs[5]))
    return grads[0], grads[1], None, None, None, grads[2], *[None] * 5


def _gradients(grad_loss, inputs, choices, gradient, needs):
    """The gradients by model output, x_start and noise, as far as they are needed; differentiable again."""
    m, x_start, alpha, sigma, weight, noise, seeds = inputs
    stream, target, reduction = choices
    dtype = torch.float64 if m.dtype == torch.float64 else torch.float32
    if torch.is_grad_enabled():
        # From the inputs, because the gradient that the kernel wrote has no history.
        gradient = reference.gradient(m, x_start, alpha, sigma, weight, noise, seeds, stream, target, reduction)
    grad_m = reference.per_sample(grad_loss, m, dtype) * gradient.to(dtype)
    grad_x = grad_noise = None
    if needs[1] or needs[2]:
        c_z, c_0 = (reference.per_sample(c, m, dtype) for c in reference.target_factors(alpha, sigma, target))
        grad_x = (-c_0 * grad_m).to(x_start.dtype) if needs[1] else None
        grad_noise = (-c_z * grad_m).to(noise.dtype) if needs[2] else None
    return grad_m.to(m.dtype) if needs[0] else None, grad_x, grad_noise


def _samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
    for shape, dtype, x_dtype, target, reduction, last, given, weighted in (
        ((3, 3, 16, 16), f32, f32, "epsilon", "mean", False, False, False),
        ((2, 3, 7, 5), f32, f32, "v", "none", True, False, True),
        ((2, 3, 7, 5), f32, f32, "flow", "sum", False, True, True),
        ((2, 40, 6, 10), f32, bf16, "x0", "mean", True, True, True),
        ((1, 1, 28, 28), f16, f32, "v", "mean", False, False, True),
        ((2, 4, 9, 8), bf16, bf16, "flow", "none", True, False, False),
        ((2, 4, 65, 67), bf16, f32, "epsilon", "sum", False, False, True),
        ((65537, 1), f32, f32, "v", "mean", False, False, True),
        ((4, 20011), f32, f16, "epsilon", "mean", False, True, False),
        ((0, 3, 4, 4), f32, f32, "epsilon", "sum", False, False, False),
        ((2, 3, 3, 3), torch.float64, torch.float64, "v", "mean", False, True, True),
    ):
        batch = shape[0]
        layout = torch.channels_last if last else torch.contiguous_format
        wide = torch.float64 if dtype == torch.float64 else f32
        m, x = (
            torch.randn(shape, generator=generator).to(d).contiguous(memory_format=layout) for d in (dtype, x_dtype)
        )
        alpha, sigma, weight = torch.rand(3, batch, generator=generator).to(wide)
        noise = torch.randn(shape, generator=generator).to(x_dtype) if given else None
        seeds = None if given else torch.randint(-(2**63), 2**63 - 1, (batch,), generator=generator)
        yield registry.Sample(
            f"{list(shape)} {dtype} {target} {reduction}",
            (m, x, alpha, sigma, weight if weighted else None, noise, seeds, int(Stream.TRAINING), target,
             reduction, True),
        )  # fmt: skip


OP = registry.register(
    registry.Op(
        name="diffusion_loss",
        schema=(
            "(Tensor model_output, Tensor x_start, Tensor alpha, Tensor sigma, Tensor? weight, Tensor? noise,"
            " Tensor? seeds, int stream, str target, str reduction, bool with_gradient) -> (Tensor, Tensor)"
        ),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": _reference},
        fake=_fake,
        device=lambda m, *_: m.device,
        native_dtypes=lambda m, x_start, *_: m.dtype in STORAGE and x_start.dtype in STORAGE,
        samples=_samples,
        truth=_truth,
        setup_context=_setup_context,
        backward=_backward,
        differentiable=(0, 1, 5),
        bitwise=False,
    )
)
