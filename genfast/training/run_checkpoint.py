"""Checkpoints of any model: one safetensors file that holds all a run needs to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from torch import Tensor, nn

from genfast._config import Config
from genfast._files import format_of, loading_tensors, misfit, save_tensors

if TYPE_CHECKING:
    from typing import Self

FILE_NAME = "checkpoint.safetensors"

_kinds: dict[str, type[RunCheckpoint]] = {}


@dataclass(frozen=True, kw_only=True)
class RunCheckpoint:
    """A saved training run.

    Attributes:
        model_config, training: what was trained, and how.
        step: steps done.
        position: images taken; the seed of the order and of all noise is ``training.seed``.
        updates: updates of the average.
        images: how many images there were: the order in which they are taken depends on it.
        shape: ``(C, H, W)`` of the images.
        class_names: the name of each label, or None.
        data: how the images were named, for the record.
        tensors: ``model.*``, ``ema.*`` and ``optimizer.*``.
    """

    FORMAT: ClassVar[str]
    WHAT: ClassVar[str]
    CONFIGS: ClassVar[tuple[type[Config], type[Config]]]

    model_config: Any
    training: Any
    step: int
    position: int
    updates: int
    images: int
    shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None
    data: str
    tensors: Mapping[str, Tensor]

    def __init_subclass__(cls) -> None:
        _kinds[cls.FORMAT] = cls

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of ``model``, ``ema`` or ``optimizer``, without that prefix."""
        prefix = f"{name}."
        return {key[len(prefix) :]: value for key, value in self.tensors.items() if key.startswith(prefix)}

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """A name per class of the model, or None where it has no classes."""
        classes = self.model_config.classes
        if not classes:
            return None
        return tuple(self.class_names or map(str, range(classes)))

    def state(self) -> dict[str, Any]:
        """All but the tensors, as JSON types."""
        names = ("step", "position", "updates", "images", "data")
        return {
            "model": self.model_config.to_dict(),
            "training": self.training.to_dict(),
            **{name: getattr(self, name) for name in names},
            "shape": list(self.shape),
            "class_names": None if self.class_names is None else list(self.class_names),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], tensors: Mapping[str, Tensor], **more: Any) -> Self:
        """The inverse of :meth:`state`. Raises KeyError, TypeError or ValueError for what is none."""
        model, training = cls.CONFIGS
        names = state["class_names"]
        return cls(
            model_config=model.from_dict(state["model"]), training=training.from_dict(state["training"]),
            step=state["step"], position=state["position"], updates=state["updates"], images=state["images"],
            shape=tuple(state["shape"]), class_names=None if names is None else tuple(names), data=state["data"],
            tensors=tensors, **more,
        )  # fmt: skip

    def load_into(self, model: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
        """Give ``model`` the ``weights`` of part ``name``. Raises ValueError where they do not fit."""
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"{type(self).__name__}: the weights {name!r} do not fit the model: {misfit(error)}"
            ) from error


C = TypeVar("C", bound=RunCheckpoint)


def save_checkpoint(path: str | Path, checkpoint: RunCheckpoint) -> Path:
    """Write ``checkpoint`` beside ``path`` and rename it, so that what was there survives any failure.

    Returns the file's path; a folder stands for its file ``checkpoint.safetensors``. Raises OSError, as where
    the disk is full.
    """
    path = _file(path)
    save_tensors(path, checkpoint.tensors, checkpoint.state(), checkpoint.FORMAT)
    return path


@overload
def load_checkpoint(path: str | Path) -> Any: ...
@overload
def load_checkpoint(path: str | Path, kind: type[C]) -> C: ...
def load_checkpoint(path: str | Path, kind: type[RunCheckpoint] | None = None) -> Any:
    """Read what :func:`save_checkpoint` wrote.

    Args:
        path: the file, or the folder that holds ``checkpoint.safetensors``.
        kind: Checkpoint (of a diffusion model), GANCheckpoint or VAECheckpoint; None takes any.

    Raises ValueError for a file that is missing, corrupt, truncated, of another kind, or none of genfast's.
    """
    path = _file(path)
    found = _kinds.get(format_of(path) or "")
    if kind is not None and found not in (None, kind):
        assert found is not None
        raise ValueError(f"{path}: a checkpoint of a {found.WHAT}, expected one of a {kind.WHAT}")
    kind = kind or found
    known, what = (" or ".join(_kinds), "training run") if kind is None else (kind.FORMAT, kind.WHAT)
    with loading_tensors(path, known, f"genfast {what}") as (state, tensors):
        assert kind is not None
        return kind.from_state(state, tensors)


def _file(path: str | Path) -> Path:
    return Path(path, FILE_NAME) if Path(path).is_dir() else Path(path)
