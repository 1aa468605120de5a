"""Fused layers in place of those of a model that exists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from genfast.nn._layer import FusedModule
from genfast.nn.conv import ConvAct2d, ConvTransposeAct2d
from genfast.nn.linear import LinearAct
from genfast.nn.norm import BatchNormAct2d, GroupNormAct
from genfast.ops._check import FLOATING

Activation = tuple[str, float | None]


@dataclass(frozen=True)
class Replacement:
    """One layer that :func:`accelerate` put into a model.

    Attributes:
        name: its place, as ``model.get_submodule`` takes it.
        old: the modules that it does the work of: a layer, and the activation behind it if there was one.
        new: the fused layer, which holds the parameters of the old one.
    """

    name: str
    old: tuple[nn.Module, ...]
    new: FusedModule

    def __str__(self) -> str:
        return f"{self.name}: {' + '.join(type(m).__name__ for m in self.old)} -> {type(self.new).__name__}"


def activation_of(module: nn.Module) -> Activation | None:
    """The name and the parameter of an activation module of torch.nn, or None for one that is not in the table."""
    kind = type(module)
    if kind in _PLAIN:
        return _PLAIN[kind], None
    if kind is nn.GELU:
        return ("gelu_tanh" if module.approximate == "tanh" else "gelu"), None
    if kind is nn.LeakyReLU:
        return "leaky_relu", float(module.negative_slope)  # type: ignore[arg-type]
    if kind is nn.ELU:
        return "elu", float(module.alpha)  # type: ignore[arg-type]
    if kind is nn.Softplus and module.threshold == 20:
        return "softplus", float(module.beta)  # type: ignore[arg-type]
    return None


_PLAIN: dict[type, str] = {
    nn.ReLU: "relu", nn.SiLU: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SELU: "selu",
    nn.Hardswish: "hardswish", nn.Mish: "mish",
}  # fmt: skip


def _conv2d(old: Any, epilogue: dict[str, Any]) -> FusedModule:
    return ConvAct2d(
        old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation, old.groups,
        old.bias is not None, old.padding_mode, "meta", **epilogue,
    )  # fmt: skip


def _conv_transpose2d(old: Any, epilogue: dict[str, Any]) -> FusedModule:
    return ConvTransposeAct2d(
        old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.output_padding, old.groups,
        old.bias is not None, old.dilation, old.padding_mode, "meta", **epilogue,
    )  # fmt: skip


def _linear(old: Any, epilogue: dict[str, Any]) -> FusedModule:
    return LinearAct(old.in_features, old.out_features, old.bias is not None, "meta", **epilogue)


def _group_norm(old: Any, epilogue: dict[str, Any]) -> FusedModule:
    return GroupNormAct(old.num_groups, old.num_channels, old.eps, old.affine, "meta", **epilogue)


def _batch_norm(old: Any, epilogue: dict[str, Any]) -> FusedModule:
    return BatchNormAct2d(
        old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats, "meta", **epilogue
    )  # fmt: skip


_MAKERS: dict[type, Callable[[Any, dict[str, Any]], FusedModule]] = {
    nn.Conv2d: _conv2d,
    nn.ConvTranspose2d: _conv_transpose2d,
    nn.Linear: _linear,
    nn.GroupNorm: _group_norm,
    nn.BatchNorm2d: _batch_norm,
}


def _is_observed(module: nn.Module) -> bool:
    """Whether something hangs on the module that its replacement would not have: a hook, an attribute of the object."""
    hooks = (
        module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks,
        module._state_dict_hooks, module._load_state_dict_pre_hooks, module._load_state_dict_post_hooks,
    )  # fmt: skip
    return any(hooks) or "forward" in module.__dict__


def _fused(old: nn.Module, act: Activation) -> FusedModule:
    new = _MAKERS[type(old)](old, {"act": act[0], "act_param": act[1]})
    for name, parameter in old._parameters.items():
        new._parameters[name] = parameter
    for name, buffer in old._buffers.items():
        new._buffers[name] = buffer
    # What others have set on the object.
    new.__dict__.update({name: value for name, value in old.__dict__.items() if name not in new.__dict__})
    return new.train(old.training)


def _is_taken(module: nn.Module) -> bool:
    """Whether the ops take its parameters: there are complex ones."""
    return all(parameter is None or parameter.dtype in FLOATING for parameter in module._parameters.values())


def _runs_in_order(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _swap(
    parent: nn.Module, prefix: str, kinds: tuple[type, ...], pairs_only: bool, seen: set[nn.Module]
) -> Iterator[Replacement]:
    if parent in seen:
        return
    seen.add(parent)
    children = list(parent._modules.items())
    for index, (name, child) in enumerate(children):
        if child is None:
            continue
        path = f"{prefix}{name}"
        if type(child) not in kinds or _is_observed(child) or not _is_taken(child):
            yield from _swap(child, f"{path}.", kinds, pairs_only, seen)
            continue
        follower = children[index + 1] if _runs_in_order(parent) and index + 1 < len(children) else None
        act: Activation | None = None
        old: tuple[nn.Module, ...] = (child,)
        if follower is not None and follower[1] is not None and not _is_observed(follower[1]):
            act = activation_of(follower[1])
        if act is None and pairs_only:
            continue
        if act is not None:
            assert follower is not None and follower[1] is not None
            old = (child, follower[1])
            # In the activation's place, so that the keys of what follows stay.
            parent._modules[follower[0]] = nn.Identity()
        new = _fused(child, act or ("linear", None))
        parent._modules[name] = new
        yield Replacement(path, old, new)


def accelerate(
    model: nn.Module, *, kinds: Collection[type[nn.Module]] | None = None, pairs_only: bool = False
) -> list[Replacement]:
    """Put the fused layers of genfast into a model, in place, where it has those of torch.nn.

    In every ``nn.Sequential`` a layer and the activation behind it become one layer (and an ``nn.Identity`` in the
    activation's place); elsewhere a layer becomes the fused one without activation, whose convolution is faster too.
    The new layers hold the very parameters of the old ones: an optimizer made before still trains them, and the keys
    of ``state_dict`` stay. Modules of other classes, subclasses and modules that hooks hang on are left as they are.
    :func:`set_fused` switches back to plain PyTorch.

    Args:
        model: any module that holds others.
        kinds: the classes to replace, of ``nn.Conv2d``, ``nn.ConvTranspose2d``, ``nn.Linear``, ``nn.GroupNorm`` and
            ``nn.BatchNorm2d``; None is all.
        pairs_only: replace no layer without an activation behind it.

    Returns:
        What was replaced, in the order of ``model.named_modules()``.

    Raises:
        ValueError: for a kind that has no fused layer, and a ``model`` that is itself a layer to replace.
    """
    chosen = tuple(_MAKERS) if kinds is None else tuple(kinds)
    for kind in chosen:
        if kind not in _MAKERS:
            known = ", ".join(f"nn.{k.__name__}" for k in _MAKERS)
            raise ValueError(f"accelerate: kinds must be among {known}, got {kind}")
    if type(model) in chosen:
        raise ValueError(f"accelerate: model must hold the layers to replace, got a single {type(model).__name__}")
    return list(_swap(model, "", chosen, pairs_only, set()))
