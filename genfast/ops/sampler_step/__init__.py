"""One step of any diffusion sampler, as one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import DTYPE_CODES, STORAGE
from genfast.ops.sampler_step import reference
from genfast.ops.sampler_step.coefficients import MAX_HISTORY, WIDTH
from genfast.ops.sampler_step.gradient import backward, setup_context
from genfast.ops.sampler_step.samples import samples
from genfast.random import Seeds, Stream, as_seeds, check_stream


class StepOutput(NamedTuple):
    """What :func:`sampler_step` gives; an entry that was not asked for is None."""

    x: Tensor
    history: Tensor | None
    model_input: Tensor | None


def sampler_step(
    x: Tensor,
    model_output: Tensor,
    coefficients: Tensor,
    step: int | Tensor,
    *,
    uncond: Tensor | None = None,
    history: Sequence[Tensor] = (),
    noise: Tensor | None = None,
    seeds: Seeds | None = None,
    stream: int = Stream.STEP,
    model_scale: float | Tensor | None = None,
    threshold: float | Tensor | None = None,
    known: Tensor | None = None,
    mask: Tensor | None = None,
    return_history: bool = False,
    model_input_dtype: torch.dtype | None = None,
) -> StepOutput:
    """One step of any sampler: a row of coefficients decides which.

    With the row ``c = coefficients[step]`` (``coefficients[step, b]`` where each sample has its own)::

        m   = uncond + c.GUIDANCE * (model_output - uncond)     if uncond is given, else model_output
        m   = m * model_scale                                   if given
        x0  = c.A_X * x + c.A_M * m
        x0  = clamp(x0, -c.CLAMP, c.CLAMP)                      an infinite CLAMP leaves x0
        x0  = clamp(x0, -threshold, threshold) / threshold      if given
        x'  = c.B_X * x + c.B_0 * x0 + c.B_M * m + sum_k c.H_k * history[k] + c.S * z
        x'  = mask * x' + (1 - mask) * (c.K_0 * known + c.K_S * z_known)      if given
        history entry = c.E_X * x + c.E_0 * x0                  in the dtype of x
        model input   = c.C_IN * x'                             in ``model_input_dtype``

    z is ``normal_noise(x.shape, seeds, stream=stream + step)`` (and z_known the same on the stream
    ``+ (Stream.INPAINT - Stream.STEP)``), or the tensor ``noise``; where S (K_S) is 0 nothing is
    drawn. All arithmetic is float32 in a fixed order with fixed fused multiply-adds, so every
    backend gives the same bits; float64 inputs are computed in float64 by plain PyTorch.

    Args:
        x: the state ``[B, ...]``: float32, float16, bfloat16 or float64.
        model_output: the (conditional) model output, shape of ``x``, any of these dtypes.
        coefficients: float32 ``[steps, 17]``, or ``[steps, B, 17]`` with a row per sample (float64
            beside a float64 ``x``). Columns are :class:`genfast.samplers.Coefficient`.
        step: which row; an int, or an int64 tensor with one element on the device of ``x``, read by
            the kernel, so that a captured CUDA graph advances by itself. On a GPU it is not range-checked.
        uncond: the unconditional model output, like ``model_output``.
        history: up to four tensors like ``x``.
        noise: the noise z itself, like ``x``; instead of ``seeds``.
        seeds: seeds of the noise, as :func:`genfast.normal_noise` takes them. Without them and without
            ``noise`` S counts as 0, and without them K_S does.
        stream: stream of step 0.
        model_scale: a number, or one per sample (``[B]`` or ``[B, 1, ...]``), for guidance rescale
            (Lin et al. 2024, section 3.4).
        threshold: likewise, for dynamic thresholding (Saharia et al. 2022, section 2.3).
        known, mask: like ``x``: the known image of an inpainting, and 1 where it is to be painted.
        return_history: whether to return the history entry.
        model_input_dtype: the dtype of the next model input, or None for none.

    Returns:
        :class:`StepOutput`; tensors take the memory format of ``x``. Differentiable twice by x,
        model_output, uncond, history and noise.

    Raises:
        TypeError, ValueError: for wrong types, shapes, devices, or a step outside the table.
    """
    if registry.takes_direct_calls():
        out = native.sampler_step_direct(
            torch.is_grad_enabled(), x, model_output, coefficients, step, uncond, history, noise, seeds, stream,
            model_scale, threshold, known, mask, return_history, model_input_dtype,
        )  # fmt: skip
        if out is not None:
            return StepOutput._make(out)
    name = "sampler_step"
    _check.floating(name, "x", x)
    _check.batched(name, "x", x)
    _check.like(name, "model_output", model_output, x, "x")
    _check_table(x, coefficients)
    if isinstance(step, Tensor):
        if step.dtype != torch.int64 or step.numel() != 1:
            raise TypeError(f"{name}: step must be an int or an int64 tensor with one element, got {step}")
        _check.same_device(name, "step", step, x, "x")
    elif not isinstance(step, int) or isinstance(step, bool):
        raise TypeError(f"{name}: step must be an int or an int64 tensor, got {type(step).__name__}")
    else:
        _check_step(step, coefficients)
    if uncond is not None:
        _check.like(name, "uncond", uncond, x, "x")
        _check.same_dtype(name, "uncond", uncond, model_output, "model_output")
    if not isinstance(history, (list, tuple)):
        raise TypeError(f"{name}: history must be a list or tuple of tensors, got {type(history).__name__}")
    if len(history) > MAX_HISTORY:
        raise ValueError(f"{name}: history must hold at most {MAX_HISTORY} tensors, got {len(history)}")
    for k, entry in enumerate(history):
        _check.like(name, f"history[{k}]", entry, x, "x")
        _check.same_dtype(name, f"history[{k}]", entry, x, "x")
    drawn = None
    if seeds is not None or noise is not None:
        drawn = _check.noise_source(name, seeds, noise, x, "x")
    if model_scale is not None:
        model_scale = _check.per_sample(name, "model_scale", model_scale, x, "x")
    if threshold is not None:
        threshold = _check.per_sample(name, "threshold", threshold, x, "x")
    if (known is None) != (mask is None):
        raise ValueError(f"{name}: known and mask go together, got only {'known' if mask is None else 'mask'}")
    if known is not None and mask is not None:
        for argument, value in (("known", known), ("mask", mask)):
            _check.like(name, argument, value, x, "x")
            _check.same_dtype(name, argument, value, x, "x")
    if model_input_dtype is not None and model_input_dtype not in (*STORAGE, torch.float64):
        raise TypeError(f"{name}: model_input_dtype must be a floating point dtype, got {model_input_dtype}")
    stream = check_stream(name, stream)
    history, return_history = list(history), bool(return_history)
    if registry.is_plain(
        x, model_output, coefficients, step, uncond, *history, noise, drawn, model_scale, threshold, known, mask
    ):
        out = OP.run(
            x, model_output, coefficients, step, uncond, history, noise, drawn, stream, model_scale, threshold,
            known, mask, return_history, model_input_dtype,
        )  # fmt: skip
    else:
        if drawn is not None:
            drawn = as_seeds(name, drawn, x.shape[0], x.device)
        if not isinstance(step, Tensor):
            step = torch.full((1,), step, dtype=torch.int64, device=x.device)
        out = OP.call(
            x, model_output, coefficients, step, uncond, history, noise, drawn, stream, model_scale, threshold,
            known, mask, return_history, model_input_dtype,
        )  # fmt: skip
    return StepOutput(out[0], out[1] if return_history else None, out[2] if model_input_dtype is not None else None)


def _check_table(x: Tensor, coefficients: Tensor) -> None:
    name = "sampler_step"
    _check.tensor(name, "coefficients", coefficients)
    wanted = torch.float64 if x.dtype == torch.float64 else torch.float32
    if coefficients.dtype != wanted:
        raise TypeError(f"{name}: coefficients must be {wanted} beside x of {x.dtype}, got {coefficients.dtype}")
    shape = coefficients.shape
    if len(shape) not in (2, 3) or shape[-1] != WIDTH or (len(shape) == 3 and shape[1] not in (1, x.shape[0])):
        raise ValueError(
            f"{name}: coefficients must be [steps, {WIDTH}] or [steps, {x.shape[0]}, {WIDTH}], got {list(shape)}"
        )
    _check.same_device(name, "coefficients", coefficients, x, "x")


def _check_step(step: int, coefficients: Tensor) -> None:
    steps = coefficients.shape[0]
    if not 0 <= step < steps:
        raise ValueError(f"sampler_step: step must be in [0, {steps}), the rows of coefficients, got {step}")


def _outputs(x: Tensor, return_history: bool, model_input_dtype: torch.dtype | None) -> tuple[Tensor, Tensor, Tensor]:
    nothing = x.new_empty(0)
    return (
        torch.empty_like(x),
        torch.empty_like(x) if return_history else nothing,
        torch.empty_like(x, dtype=model_input_dtype) if model_input_dtype is not None else x.new_empty(0),
    )


def _launch(
    kernel: Any, x: Tensor, model_output: Tensor, coefficients: Tensor, step: int | Tensor, uncond: Tensor | None,
    history: list[Tensor], noise: Tensor | None, seeds: Tensor | int | None, stream: int, model_scale: Tensor | None,
    threshold: Tensor | None, known: Tensor | None, mask: Tensor | None, return_history: bool,
    model_input_dtype: torch.dtype | None, *cuda_stream: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    x, channels, layout = _check.layout(x)
    dense = _check.in_layout
    model_output, uncond = dense(model_output, layout), dense(uncond, layout)
    noise, known, mask = dense(noise, layout), dense(known, layout), dense(mask, layout)
    past = [dense(t, layout) for t in history]
    coefficients = coefficients.contiguous()
    outputs = _outputs(x, return_history, model_input_dtype)
    batch = x.shape[0]
    draws, seeds_pointer, seed = _check.seed_arguments(seeds)
    pointer = _check.pointer
    kernel(
        x.data_ptr(), model_output.data_ptr(), pointer(uncond), [t.data_ptr() for t in past], pointer(noise),
        pointer(known), pointer(mask), outputs[0].data_ptr(), outputs[1].data_ptr() if return_history else 0,
        outputs[2].data_ptr() if model_input_dtype is not None else 0,
        DTYPE_CODES[x.dtype], DTYPE_CODES[model_output.dtype],
        DTYPE_CODES[model_input_dtype] if model_input_dtype is not None else 0,
        batch, x.numel() // batch if batch else 0, channels,
        coefficients.data_ptr(), coefficients.shape[1] if coefficients.dim() == 3 else 1,
        *((step.data_ptr(), 0) if isinstance(step, Tensor) else (0, step)),
        pointer(model_scale), pointer(threshold), draws, seeds_pointer, seed, stream, *cuda_stream,
    )  # fmt: skip
    return outputs


def _cpu(x: Tensor, model_output: Tensor, coefficients: Tensor, step: int | Tensor, *rest: Any) -> Any:
    step = int(step)
    _check_step(step, coefficients)
    return _launch(native.sampler_step, x, model_output, coefficients, step, *rest)


def _cuda(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _launch(cuda_library().sampler_step_cuda, *args, *current_stream(args[0].device))


def _as_tensors(x: Tensor, step: int | Tensor, seeds: Tensor | int | None) -> tuple[Tensor, Tensor | None]:
    if not isinstance(step, Tensor):
        step = torch.full((1,), step, dtype=torch.int64, device=x.device)
    if seeds is not None:
        seeds = as_seeds("sampler_step", seeds, x.shape[0], x.device)
    return step, seeds


def _triton(
    x, model_output, coefficients, step, uncond, history, noise, seeds, stream, model_scale, threshold, known, mask,
    return_history, model_input_dtype,
):  # fmt: skip
    from genfast.ops.sampler_step.triton_kernel import launch

    step, seeds = _as_tensors(x, step, seeds)
    x, channels, layout = _check.layout(x)
    outputs = _outputs(x, return_history, model_input_dtype)
    dense = _check.in_layout
    launch(
        x, dense(model_output, layout), coefficients.contiguous(), step, dense(uncond, layout),
        [dense(t, layout) for t in history], dense(noise, layout), seeds, stream, model_scale, threshold,
        dense(known, layout), dense(mask, layout), outputs, channels, return_history, model_input_dtype is not None,
    )  # fmt: skip
    return outputs


def _reference(x, model_output, coefficients, step, uncond, history, noise, seeds, *rest):
    step, seeds = _as_tensors(x, step, seeds)
    return reference.sampler_step(x, model_output, coefficients, step, uncond, history, noise, seeds, *rest)


def _fake(
    x, model_output, coefficients, step, uncond, history, noise, seeds, stream, model_scale, threshold, known, mask,
    return_history, model_input_dtype,
):  # fmt: skip
    dense = torch.empty_like(x, memory_format=_check.memory_format(x))
    return _outputs(dense, return_history, model_input_dtype)


def _native_dtypes(x, model_output, *rest):
    model_input_dtype = rest[-1]
    return (
        x.dtype in STORAGE
        and model_output.dtype in STORAGE
        and (model_input_dtype is None or model_input_dtype in STORAGE)
    )


def _truth(x, model_output, coefficients, step, uncond, history, noise, seeds, stream, model_scale, threshold, known,
           mask, return_history, model_input_dtype):  # fmt: skip
    def wide(t):
        return None if t is None else t.double()

    return reference.sampler_step(
        x.double(), model_output.double(), coefficients.double(), step, wide(uncond), [wide(t) for t in history],
        wide(noise), seeds, stream, wide(model_scale), wide(threshold), wide(known), wide(mask), return_history,
        None if model_input_dtype is None else torch.float64,
    )  # fmt: skip


OP = registry.register(
    registry.Op(
        name="sampler_step",
        schema=(
            "(Tensor x, Tensor model_output, Tensor coefficients, Tensor step, Tensor? uncond, Tensor[] history,"
            " Tensor? noise, Tensor? seeds, SymInt stream, Tensor? model_scale, Tensor? threshold, Tensor? known,"
            " Tensor? mask, bool return_history, ScalarType? model_input_dtype) -> (Tensor, Tensor, Tensor)"
        ),
        implementations={"cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": _reference},
        fake=_fake,
        device=lambda x, *_: x.device,
        native_dtypes=_native_dtypes,
        samples=samples,
        truth=_truth,
        setup_context=setup_context,
        backward=backward,
        differentiable=(0, 1, 4, 5, 6),
    )
)
