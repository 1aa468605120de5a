"""The gradient of gaussian_kl."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import cuda_library, current_stream, native
from genfast.ops import _check
from genfast.ops._check import STORAGE
from genfast.ops._loss import wide
from genfast.ops.gaussian_kl.arguments import layout_of, posterior
from genfast.ops.gaussian_kl.reference import share
from genfast.ops.gaussian_kl.samples import cases
from genfast.ops.gaussian_kl_gradient import reference
from genfast.random import as_seeds


def gradients(dz: Tensor | None, dkl: Tensor | None, *inputs: Any) -> tuple[Tensor, Tensor]:
    """The gradients of :func:`genfast.gaussian_kl` by ``mu`` and ``logvar``, of the arguments of its op.

    ``dz`` and ``dkl`` are those of its results, or None. Differentiable again.
    """
    plain = registry.is_plain(dz, dkl, *inputs[:4])
    return OP.run(dz, dkl, *inputs) if plain else OP.call(dz, dkl, *inputs)


def _launch(
    kernel: Any, dz: Tensor | None, dkl: Tensor | None, mu: Tensor, logvar: Tensor, noise: Tensor | None,
    seeds: Tensor | int | None, stream: int, beta: float, free_bits: float, reduction: str, *cuda_stream: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    p = posterior(mu, logvar, noise)
    dz = _check.in_layout(dz, p.layout)
    dkl = None if dkl is None else dkl.contiguous()
    dmu, dlogvar = p.like(), p.like()
    scale = beta * share(mu.shape[0], reduction)
    kernel(
        p.arguments(seeds, stream, free_bits), _check.pointer(dz), _check.pointer(dkl), dmu.data_ptr(),
        dlogvar.data_ptr(), scale, reduction == "none", *cuda_stream,
    )  # fmt: skip
    return dmu, dlogvar


def _cpu(*args: Any) -> tuple[Tensor, Tensor]:
    return _launch(native.gaussian_kl_gradient, *args)


def _cuda(dz: Tensor | None, dkl: Tensor | None, mu: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    return _launch(cuda_library().gaussian_kl_gradient_cuda, dz, dkl, mu, *args, *current_stream(mu.device))


def _triton(dz, dkl, mu, logvar, noise, seeds, stream, beta, free_bits, reduction):
    from genfast.ops.gaussian_kl_gradient.triton_kernel import launch

    p = posterior(mu, logvar, noise)
    dmu, dlogvar = p.like(), p.like()
    if seeds is not None:
        seeds = as_seeds("gaussian_kl_gradient", seeds, mu.shape[0], mu.device)
    scale = beta * share(mu.shape[0], reduction)
    dkl = None if dkl is None else dkl.contiguous()
    launch(p, _check.in_layout(dz, p.layout), dkl, dmu, dlogvar, seeds, stream, scale, free_bits, reduction)
    return dmu, dlogvar


def _fake(dz, dkl, mu, *rest):
    layout = layout_of(mu)
    return torch.empty_like(mu, memory_format=layout), torch.empty_like(mu, memory_format=layout)


def _truth(*args: Any) -> tuple[Tensor, Tensor]:
    seeds = args[5]
    wider = [a.double() if isinstance(a, Tensor) and a is not seeds else a for a in args]
    return reference.gaussian_kl_gradient(*wider)  # type: ignore[arg-type]


def _samples(generator: torch.Generator) -> Iterator[registry.Sample]:
    for k, (label, inputs) in enumerate(cases(generator)):
        mu, reduction = inputs[0], inputs[-1]
        dz = torch.randn(mu.shape, generator=generator).to(mu.dtype)
        dkl = torch.randn(mu.shape[:1] if reduction == "none" else (), generator=generator).to(wide(mu))
        # One result may have no gradient.
        absent = {4: "dz", 7: "dkl"}.get(k, "")
        arrived = (None if absent == "dz" else dz, None if absent == "dkl" else dkl)
        yield registry.Sample(f"{label}{' without ' + absent if absent else ''}", (*arrived, *inputs))


OP = registry.register(
    registry.Op(
        name="gaussian_kl_gradient",
        schema=(
            "(Tensor? dz, Tensor? dkl, Tensor mu, Tensor logvar, Tensor? noise, Tensor? seeds, SymInt stream,"
            " float beta, float free_bits, str reduction) -> (Tensor, Tensor)"
        ),
        implementations={
            "cpu": _cpu, "cuda": _cuda, "triton": _triton, "reference": reference.gaussian_kl_gradient,
        },
        fake=_fake,
        device=lambda dz, dkl, mu, *_: mu.device,
        native_dtypes=lambda dz, dkl, mu, *_: mu.dtype in STORAGE,
        samples=_samples,
        truth=_truth,
        compose=reference.gaussian_kl_gradient,
        differentiable=(0, 1, 2, 3, 4),
        bitwise=False,
    )
)  # fmt: skip
