"""The two convolution ops are one: transposed or not."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from genfast import registry
from genfast.backend import choose, native
from genfast.ops import _check
from genfast.ops._activation import find
from genfast.ops._check import STORAGE
from genfast.ops._conv import plan, training
from genfast.ops._conv.arguments import check_operands, named_padding, out_shape, pair, problem
from genfast.ops._conv.gradient import convolution
from genfast.ops._conv.plan import Plan
from genfast.ops._conv.problem import Epilogue
from genfast.ops.bias_act import fused

_any_autocast = torch._C._is_any_autocast_enabled


class ConvOp:
    """conv2d_act, or conv_transpose2d_act where ``transposed``, as the public function and as a registered op.

    The registered one takes x, weight, bias, residual, stride, padding, dilation, (transposed: output_padding,)
    groups, act, param, gain, clamp.
    """

    def __init__(
        self,
        name: str,
        transposed: bool,
        reference: Callable[..., Tensor],
        samples: Callable[[torch.Generator], Iterable[registry.Sample]],
    ) -> None:
        self.name = name
        self.transposed = transposed
        self.reference = plan.without_autocast(reference)
        self._plans: dict[Hashable, Plan] = {}
        self._trained: dict[Hashable, str] = {}
        output_padding = ", int[2] output_padding" if transposed else ""
        self.op = registry.register(
            registry.Op(
                name=name,
                schema=(
                    "(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, int[2] stride, int[2] padding,"
                    f" int[2] dilation{output_padding}, int groups, int act, float param, float gain, float clamp)"
                    " -> Tensor"
                ),
                implementations={
                    "cpu": self._on("cpu"),
                    "cuda": self._on("cuda"),
                    "triton": self._on("triton"),
                    "reference": self.reference,
                },
                fake=self._fake,
                device=lambda x, *_: x.device,
                native_dtypes=lambda x, *_: x.dtype in STORAGE,
                samples=samples,
                truth=self._truth,
                compose=self._compose,
                differentiable=(0, 1, 2, 3),
                bitwise=False,
            )
        )

    def __call__(
        self, x: Tensor, w: Tensor, b: Tensor | None, stride: Any, padding: Any, dilation: Any, output_padding: Any,
        groups: int, act: str, act_param: float | None, residual: Tensor | None, gain: float, clamp: float | None,
    ) -> Tensor:  # fmt: skip
        key: Hashable = None
        tensors: Hashable = None
        autocast = _any_autocast()
        if registry.takes_direct_calls() and not autocast:
            tensors = native.signature(torch.is_grad_enabled(), x, w, b, residual)
        plain = tensors is not None or (not autocast and registry.is_plain(x, w, b, residual))
        if plain:
            try:
                key = (
                    tensors or _signature(x, w, b, residual), stride, padding, dilation, output_padding, groups, act,
                    act_param, gain, clamp, plan.context(),
                )  # fmt: skip
                known = self._plans.get(key)
            except (AttributeError, TypeError):
                # Lists have no hash, and what is no tensor is complained of below.
                known = key = None
            if known is not None:
                return known(x, w, b, residual)
        if autocast:
            x, w, b, residual = _as_autocast(x, w, b, residual)
        x, options = self._normalised(
            x, w, b, stride, padding, dilation, output_padding, groups, act, act_param, residual, gain, clamp
        )
        if not plain:
            if not autocast and training.takes(x, w, b, residual):
                geometry, numbers = self._split(options)
                if self._training_way(x, w, b, residual, options) == training.PYTORCH:
                    return training.conv_act(x, w, b, residual, self.transposed, geometry, Epilogue(*numbers))
            return self.op.call(x, w, b, residual, *options)
        if x.dtype not in STORAGE or choose(self.name, x.device) == "reference":
            return self.reference(x, w, b, residual, *options)
        found = self._plan(choose(self.name, x.device), x, w, b, residual, *options)
        if key is not None and padding != "same":
            if len(self._plans) >= plan.MOST_PLANS:
                self._plans.clear()
            self._plans[key] = found
        return found(x, w, b, residual)

    def _training_way(
        self, x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, options: tuple[Any, ...]
    ) -> str:
        wants = tuple(t is not None and t.requires_grad for t in (x, w, b, residual))
        key = (_signature(x, w, b, residual), wants, options, plan.context())
        found = self._trained.get(key)
        if found is None:
            geometry, numbers = self._split(options)
            composed = lambda *tensors: self.op.call(*tensors, *options)  # noqa: E731
            found = training.choose(composed, x, w, b, residual, self.transposed, geometry, Epilogue(*numbers))
            if len(self._trained) >= plan.MOST_PLANS:
                self._trained.clear()
            self._trained[key] = found
        return found

    def _normalised(
        self, x, w, b, stride, padding, dilation, output_padding, groups, act, act_param, residual, gain, clamp
    ):
        """x, zeros put around it where padding "same" is not symmetric, and the options of the registered op."""
        name = self.name
        stride, dilation = pair(name, "stride", stride, 1), pair(name, "dilation", dilation, 1)
        output_padding = pair(name, "output_padding", output_padding, 0)
        _check.tensor(name, "x", x)
        _check.tensor(name, "w", w)
        if isinstance(padding, str):
            if w.dim() != 4:
                raise ValueError(f"{name}: w must have 4 dimensions, got {list(w.shape)}")
            if self.transposed:
                raise TypeError(f"{name}: padding must be an int or two ints, got {padding!r}")
            padding, zeros = named_padding(name, padding, w.shape[2:], stride, dilation)
            if any(zeros):
                x = torch.nn.functional.pad(x, zeros)
        else:
            padding = pair(name, "padding", padding, 0)
        epilogue = epilogue_of(name, act, act_param, gain, clamp)
        out = out_shape(name, self.transposed, x, w, stride, padding, dilation, output_padding, groups)
        check_operands(name, x, out, b, residual)
        between = (output_padding,) if self.transposed else ()
        numbers = epilogue.act, epilogue.param, epilogue.gain, epilogue.clamp
        return x, (stride, padding, dilation, *between, groups, *numbers)

    def _split(self, options: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Stride, padding, dilation, output padding and groups; the numbers of the epilogue."""
        *geometry, act, param, gain, clamp = options
        if not self.transposed:
            geometry.insert(3, (0, 0))
        return tuple(geometry), (act, param, gain, clamp)

    def _plan(self, name: str, x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, *options: Any) -> Plan:
        geometry, numbers = self._split(options)
        stride, padding, dilation, output_padding, groups = geometry
        posed = problem(
            self.name, name, self.transposed, x, w, b, residual, stride, padding, dilation, output_padding, groups,
            numbers[0],
        )  # fmt: skip
        return plan.plan(name, posed, Epilogue(*numbers))

    def _on(self, name: str) -> Callable[..., Tensor]:
        def implementation(x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, *options: Any) -> Tensor:
            return self._plan(name, x, w, b, residual, *options)(x, w, b, residual)

        return plan.without_autocast(implementation)

    def _compose(self, x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, *options: Any) -> Tensor:
        """The op where gradients are wanted: convolution, then bias_act, whose backward is one pass."""
        geometry, numbers = self._split(options)
        z = convolution(x, w, self.transposed, *geometry)
        return fused(z, b, residual, 1, *numbers)

    def _fake(self, x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None, *options: Any) -> Tensor:
        geometry, _ = self._split(options)
        return plan.empty_result(x, out_shape(self.name, self.transposed, x, w, *geometry))

    def _truth(self, *args: Any) -> Tensor:
        return self.reference(*(a.double() if isinstance(a, Tensor) else a for a in args))


def _signature(x: Tensor, w: Tensor, b: Tensor | None, residual: Tensor | None) -> Hashable:
    others = (t if t is None else (t.shape, t.dtype, t.device) for t in (w, b, residual))
    return x.shape, x.stride(), x.dtype, x.device, *others


def epilogue_of(op: str, act: str, act_param: float | None, gain: float, clamp: float | None) -> Epilogue:
    found = find(op, act)
    for name, number in (("act_param", act_param), ("gain", gain), ("clamp", clamp)):
        if isinstance(number, bool) or not isinstance(number, (int, float, type(None))):
            raise TypeError(f"{op}: {name} must be a number, got {type(number).__name__}")
    if clamp is not None and not clamp >= 0:
        raise ValueError(f"{op}: clamp must be at least 0, or None, got {clamp}")
    if gain is None:
        raise TypeError(f"{op}: gain must be a number, got None")
    param = found.param if act_param is None else float(act_param)
    return Epilogue(found.code, param, float(gain), -1.0 if clamp is None else float(clamp))


def _as_autocast(x: Any, w: Any, b: Any, residual: Any) -> tuple[Any, ...]:
    """The arguments as autocast hands them to PyTorch's own convolutions; a bias may stay in float32."""
    if not isinstance(x, Tensor) or not torch.is_autocast_enabled(x.device.type):
        return x, w, b, residual
    dtype = torch.get_autocast_dtype(x.device.type)

    def cast(value: Any, kept: tuple[torch.dtype, ...]) -> Any:
        is_cast = isinstance(value, Tensor) and value.is_floating_point() and value.dtype not in (torch.float64, *kept)
        return value.to(dtype) if is_cast else value

    return cast(x, ()), cast(w, ()), cast(b, (torch.float32,)), cast(residual, ())
