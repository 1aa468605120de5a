"""The ops: how one is defined, registered with PyTorch, and proved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from genfast.backend import choose, prefers_native_cpu

library = torch.library.Library("genfast", "DEF")

_is_compiling = torch.compiler.is_compiling
_is_tracing = torch._C._is_tracing
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_functorch_level = torch._C._functorch.peek_interpreter_stack
_profiling = torch.autograd._profiler_enabled
_grad_enabled = torch.is_grad_enabled
_plain_types = (Tensor, torch.nn.Parameter)
_DERIVATIVES = (torch._C._functorch.TransformType.Grad, torch._C._functorch.TransformType.Jvp)
is_batched: Callable[[Tensor], bool] = torch._C._functorch.is_legacy_batchedtensor
"""Whether a tensor is one of those that ``is_grads_batched`` makes, whose values lie at no address."""


def is_unobserved() -> bool:
    """Whether nothing would look at an op call in PyTorch's dispatcher: no tracing, mode, transform or profiler."""
    return not (
        _is_compiling()
        or _is_tracing()
        or _dispatch_modes()
        or _function_modes()
        or _functorch_level() is not None
        or _profiling()
        or forward_ad._current_level >= 0
    )


def takes_direct_calls() -> bool:
    """Whether the native library may be handed tensors as they are (csrc/common/direct_call.h)."""
    return is_unobserved() and prefers_native_cpu()


def direct_apply(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """``function.apply`` for calls that :func:`is_unobserved` lets pass: without what it does for functorch, which
    takes microseconds."""
    return super(torch.autograd.Function, function).apply  # type: ignore[misc]


def is_differentiated() -> bool:
    """Whether torch.func takes derivatives of what runs, which those that PyTorch registers for ops refuse."""
    levels = torch._C._functorch.get_interpreter_stack() if _functorch_level() is not None else None
    return any(level.key() in _DERIVATIVES for level in levels or ())


def is_plain(*arguments: object) -> bool:
    """Whether a call may skip the dispatcher: nothing observes it, ``arguments``, which are all that the op
    takes, hold no tensor but plain ones, and there is no gradient to record.
    """
    if not is_unobserved():
        return False
    grad = _grad_enabled()
    for tensor in arguments:
        if not isinstance(tensor, Tensor):
            continue
        if type(tensor) not in _plain_types or (grad and tensor.requires_grad):
            return False
        # What lies at such a tensor's address is not its values.
        if tensor.is_neg() or tensor._is_zerotensor() or is_batched(tensor):
            return False
    return True


def is_wanted(ctx: Any, index: int) -> bool:
    """Whether the running backward wants this input's gradient: ``needs_input_grad`` says whether any might."""
    if not ctx.needs_input_grad[index]:
        return False
    try:
        return torch._C._will_engine_execute_node(ctx.next_functions[index][0])
    except (AttributeError, IndexError, RuntimeError, TypeError):
        # So it is where a leaf's own gradient is asked for, or where the engine does not run.
        return True


def composed_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Any], needs: Sequence[bool], dy: Tensor
) -> list[Tensor | None]:
    """The gradients of ``function(*inputs)`` by the inputs that need one, made of operations that PyTorch
    differentiates, and differentiable themselves where gradients are recorded."""
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, so that an input which was computed from another stays a variable of its own.
        own = [t.view_as(t) if need else t for t, need in zip(inputs, needs, strict=True)]
        wanted = [t for t, need in zip(own, needs, strict=True) if need]
        found = iter(torch.autograd.grad(function(*own), wanted, dy, create_graph=recorded))
    return [next(found) if need else None for need in needs]


@dataclass(frozen=True)
class Sample:
    """One call of an op: positional arguments as its schema has them, and what is special about it."""

    label: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Op:
    """An operator: one schema, one implementation per backend, one reference.

    Attributes:
        name: the op's name, and that of its folder.
        schema: the arguments and returns, as torch.library wants them.
        implementations: per backend, a function of the schema's arguments. "reference" is
            required and runs in float64 too; it is what runs where a backend takes no such dtype.
        fake: shapes and dtypes of the results for given arguments.
        device: the device of the results, read off the arguments.
        native_dtypes: whether the compiled and Triton kernels take these arguments.
        samples: inputs that the tests run on every backend, drawn afresh with a generator.
        truth: the op in float64, with the arguments of the schema.
        setup_context, backward: as torch.library.register_autograd takes them.
        compose: instead of these, the op made of other ops, of the schema's arguments: what a call is while a
            gradient is wanted.
        differentiable: index of the arguments that gradients are checked for.
        bitwise: every backend gives the bits of the reference in float32.
    """

    name: str
    schema: str
    implementations: dict[str, Callable[..., Any]]
    fake: Callable[..., Any]
    device: Callable[..., torch.device]
    native_dtypes: Callable[..., bool]
    samples: Callable[[torch.Generator], Iterable[Sample]]
    truth: Callable[..., Any]
    setup_context: Callable[..., None] | None = None
    backward: Callable[..., Any] | None = None
    compose: Callable[..., Any] | None = None
    differentiable: tuple[int, ...] = ()
    bitwise: bool = True
    overload: Any = field(default=None, compare=False)

    def run(self, *args: Any) -> Any:
        """Call the chosen backend's implementation, past PyTorch's dispatcher."""
        name = choose(self.name, self.device(*args)) if self.native_dtypes(*args) else "reference"
        return self.implementations[name](*args)

    def call(self, *args: Any) -> Any:
        """Call the op through PyTorch's dispatcher, which would drop a forward-mode derivative without a word.

        Inside the derivatives of torch.func it is plain PyTorch.
        """
        if not _is_compiling():
            if is_differentiated():
                return self.implementations["reference"](*args)
            if forward_ad._current_level >= 0:
                self._refuse_tangents(args)
        return self.overload(*args)

    def _refuse_tangents(self, args: tuple[Any, ...]) -> None:
        for argument in args:
            for value in argument if isinstance(argument, list) else (argument,):
                if isinstance(value, Tensor) and forward_ad.unpack_dual(value).tangent is not None:
                    raise NotImplementedError(f"{self.name}: has no forward-mode derivative, only backward")


ops: dict[str, Op] = {}


def _composition(op: Op, compose: Callable[..., Any]) -> Callable[..., Any]:
    """What PyTorch's autograd layer does with a call: composes it where a gradient is wanted, else lets it pass."""

    def call(keyset: Any, *args: Any) -> Any:
        if _grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args):
            return compose(*args)
        with torch._C._AutoDispatchBelowAutograd():
            return op.overload.redispatch(keyset & torch._C._after_autograd_keyset, *args)

    return call


def register(op: Op) -> Op:
    """Define ``torch.ops.genfast.<name>`` and list the op for the tests and the benchmarks."""
    library.define(f"{op.name}{op.schema}", tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(op.name, op.run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"genfast::{op.name}", op.fake, lib=library)
    if op.backward is not None:
        torch.library.register_autograd(f"genfast::{op.name}", op.backward, setup_context=op.setup_context, lib=library)
    object.__setattr__(op, "overload", getattr(torch.ops.genfast, op.name).default)
    if op.compose is not None:
        library.impl(op.name, _composition(op, op.compose), "Autograd", with_keyset=True)
    ops[op.name] = op
    return op
