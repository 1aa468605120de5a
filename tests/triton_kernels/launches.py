"""What the ops hand to Triton, recorded without running it: each distinct launch is a configuration to compile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import genfast.ops._template  # noqa: F401  (registers an op that genfast itself does not import)
from genfast.ops import _triton
from genfast.random import Stream
from genfast.registry import ops

TYPES = {
    torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64", torch.int64: "i64",
}  # fmt: skip


@dataclass(frozen=True)
class Launch:
    kernel: Any
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    warps: int

    def __str__(self) -> str:
        types = ",".join(f"{n}:{t}" for n, t in self.signature if t.startswith("*"))
        return f"{self.kernel.__name__} {dict(self.constants)} {types}"

    def value(self, name: str) -> Any:
        """A constant, or the type of an argument: None for one that was not given."""
        return {**dict(self.signature), **dict(self.constants)}[name]

    def compile(self, capability: int) -> Any:
        alignment = {
            (i,): [["tt.divisibility", 16]] for i, (_, kind) in enumerate(self.signature) if kind.startswith("*")
        }
        source = ASTSource(
            fn=self.kernel, signature=dict(self.signature), constexprs=dict(self.constants), attrs=alignment
        )
        options = {"enable_fp_fusion": False, "num_warps": self.warps}
        return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def _recorded(kernel: Any, warps: int, arguments: tuple[Any, ...], constants: dict[str, Any]) -> Launch:
    signature, fixed = [], dict(constants)
    for parameter, value in zip(kernel.params, (*arguments, *constants.values()), strict=True):
        kind = parameter.annotation_type
        if parameter.is_constexpr or value is None:
            kind = "constexpr"
            fixed.setdefault(parameter.name, value)
        elif isinstance(value, Tensor):
            kind = "*" + TYPES[value.dtype]
        assert kind, f"{kernel.__name__}: {parameter.name} needs a type, or it is compiled anew for each value"
        signature.append((parameter.name, kind))
    return Launch(kernel, tuple(signature), tuple(fixed.items()), warps)


def _calls() -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The sample inputs of every op, and the tiles that those leave out."""
    generator = torch.Generator().manual_seed(0)
    for op in ops.values():
        for sample in op.samples(generator):
            if op.native_dtypes(*sample.args):
                yield op.name, sample.args
    training = int(Stream.TRAINING)
    dense, last = torch.contiguous_format, torch.channels_last
    for shape, layout, target, with_gradient in (
        ((2, 4, 16, 16), last, "v", True), ((2, 64, 8, 8), last, "epsilon", True), ((2, 1, 8, 8), dense, "x0", False),
    ):  # fmt: skip
        seeds, per_sample = torch.zeros(2, dtype=torch.int64), torch.zeros(2)
        x = torch.zeros(shape).contiguous(memory_format=layout)
        yield "normal_noise", (seeds, list(shape), training, torch.float32, layout)
        yield "add_noise", (x, per_sample, per_sample, None, seeds, training)
        table, step = torch.zeros(2, 17), torch.zeros(1, dtype=torch.int64)
        yield "sampler_step", (x, x, table, step, None, [], None, seeds, 0, None, None, None, None, False, None)
        rest = (training, target, "mean", with_gradient)
        yield "diffusion_loss", (x, x, per_sample, per_sample, None, None, seeds, *rest)


def recorded() -> list[Launch]:
    """Every distinct launch of those calls."""
    found: dict[Launch, None] = {}

    def record(kernel, programs, warps, arguments, constants):
        if programs:
            found.setdefault(_recorded(kernel, warps, arguments, constants))

    run, _triton.launch = _triton.launch, record
    try:
        for name, arguments in _calls():
            ops[name].implementations["triton"](*arguments)
    finally:
        _triton.launch = run
    return list(found)
