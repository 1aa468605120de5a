"""How an op's results on a backend are judged; shared by the tests of every backend."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from genfast.registry import Op, Sample

ULP = {torch.float64: 2.0**-52, torch.float32: 2.0**-23, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


def results(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def run_reference(op: Op, sample: Sample) -> list[Tensor]:
    return results(op.implementations["reference"](*sample.args))


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal values with equal signs of zero; NaN equals NaN."""
    return torch.equal(a.isnan(), b.isnan()) and bool(
        torch.where(a.isnan(), True, (a == b) & (torch.signbit(a) == torch.signbit(b))).all()
    )


def check_layout(op: Op, sample: Sample, outputs: list[Tensor]) -> None:
    """Shapes, dtypes and strides are what the fake implementation promises."""
    promised = results(op.fake(*sample.args))
    assert len(outputs) == len(promised)
    for output, promise in zip(outputs, promised, strict=True):
        assert output.shape == promise.shape
        assert output.dtype == promise.dtype
        assert output.stride() == promise.stride() or output.numel() <= 1


def check_values(op: Op, sample: Sample, outputs: list[Tensor]) -> None:
    """Every output is at most twice as far from float64 as plain PyTorch is, plus an ulp; no input was changed."""
    truths = results(op.truth(*sample.args))
    references = run_reference(op, sample)
    for output, truth, reference in zip(outputs, truths, references, strict=True):
        wide = output.double()
        assert torch.equal(wide.isnan(), truth.isnan()), f"{op.name} {sample.label}: NaN in the wrong places"
        error, allowed = (wide - truth).abs(), (reference.double() - truth).abs()
        bound = 2 * allowed.max() if allowed.numel() else 0.0
        slack = truth.abs() * ULP[output.dtype] + torch.finfo(output.dtype).smallest_normal
        excess = torch.nan_to_num(error - bound - slack, nan=0.0)
        assert not excess.numel() or excess.max() <= 0, f"{op.name} {sample.label}: error {error.max():.3g}"


def check_bits(op: Op, sample: Sample, outputs: list[Tensor]) -> None:
    """The bits of the reference, where the op promises them."""
    if op.bitwise:
        for k, (output, reference) in enumerate(zip(outputs, run_reference(op, sample), strict=True)):
            assert same_bits(output, reference), f"{op.name} {sample.label}: output {k} differs from the reference"


def clone_inputs(sample: Sample) -> list[Any]:
    def clone(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.clone()
        return [clone(v) for v in value] if isinstance(value, list) else value

    return [clone(value) for value in sample.args]


def check_untouched(op: Op, sample: Sample, before: list[Any]) -> None:
    """No argument was written to."""
    for argument, copy in zip(sample.args, before, strict=True):
        pairs = zip(argument, copy, strict=True) if isinstance(argument, list) else [(argument, copy)]
        for now, then in pairs:
            if isinstance(now, Tensor):
                assert same_bits(now, then) if now.dtype.is_floating_point else torch.equal(now, then), op.name


def prove(op: Op, sample: Sample) -> None:
    """Run a sample on the current backend and judge it in every way there is."""
    before = clone_inputs(sample)
    outputs = results(op.run(*sample.args))
    check_layout(op, sample, outputs)
    check_values(op, sample, outputs)
    check_bits(op, sample, outputs)
    check_untouched(op, sample, before)
