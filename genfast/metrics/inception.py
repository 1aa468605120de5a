"""The Inception network in which FID, KID and the Inception Score are defined, with weights from a file.

The layers carry the names that the public files of its weights have. It differs from later Inception v3 networks in
1,008 classes, in averages that leave the padding out, and in a last block that takes maxima (Szegedy et al. 2016; the
network that Heusel et al. 2017 measure with).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genfast.metrics.extractor import Extractor

SIZE = 299
CLASSES = 1008


class _Conv(nn.Module):
    def __init__(self, inside: int, outside: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True):
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if pad else 0
        self.conv = nn.Conv2d(inside, outside, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


class _Block(nn.Module):
    """Branches side by side, each a chain of convolutions ``(channels, kernel, stride, pad)``.

    Those in ``forked`` end in two convolutions that lie side by side, one along each axis.
    """

    def __init__(
        self, inside: int, pool: Callable[[Tensor], Tensor], forked: Sequence[str] = (), **branches: Sequence[Any]
    ) -> None:  # fmt: skip
        super().__init__()
        self.pool = pool
        self.names: list[tuple[list[str], list[str]]] = []
        for name, steps in branches.items():
            chain, ends, width = [], [], inside
            for k, (channels, *how) in enumerate(steps, 1):
                chain.append(f"{name}_{k}" if len(steps) > 1 or name in forked else name)
                self.add_module(chain[-1], _Conv(width, channels, *how))
                width = channels
            if name in forked:
                ends = [f"{name}_{len(steps) + 1}{end}" for end in "ab"]
                for end, kernel in zip(ends, ((1, 3), (3, 1)), strict=True):
                    self.add_module(end, _Conv(width, 384, kernel))
            self.names.append((chain, ends))

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for chain, ends in self.names:
            y = self.pool(x) if chain == ["branch_pool"] else x
            for name in chain:
                y = self.get_submodule(name)(y)
            found += [self.get_submodule(name)(y) for name in ends] or [y]
        if self.pool is _halved:
            found.append(self.pool(x))
        return torch.cat(found, 1)


def _block_a(inside: int, pooled: int) -> _Block:
    return _Block(
        inside, _average, branch1x1=[(64, 1)], branch5x5=[(48, 1), (64, 5)],
        branch3x3dbl=[(64, 1), (96, 3), (96, 3)], branch_pool=[(pooled, 1)],
    )  # fmt: skip


def _block_b(inside: int) -> _Block:
    return _Block(
        inside, _halved, branch3x3=[(384, 3, 2, False)], branch3x3dbl=[(64, 1), (96, 3), (96, 3, 2, False)]
    )  # fmt: skip


def _block_c(inside: int, narrow: int) -> _Block:
    across, down = (1, 7), (7, 1)
    return _Block(
        inside, _average, branch1x1=[(192, 1)], branch7x7=[(narrow, 1), (narrow, across), (192, down)],
        branch7x7dbl=[(narrow, 1), (narrow, down), (narrow, across), (narrow, down), (192, across)],
        branch_pool=[(192, 1)],
    )  # fmt: skip


def _block_d(inside: int) -> _Block:
    return _Block(
        inside, _halved, branch3x3=[(192, 1), (320, 3, 2, False)],
        branch7x7x3=[(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, False)],
    )  # fmt: skip


def _block_e(inside: int, pool: Callable[[Tensor], Tensor]) -> _Block:
    return _Block(
        inside, pool, forked=("branch3x3", "branch3x3dbl"), branch1x1=[(320, 1)], branch3x3=[(384, 1)],
        branch3x3dbl=[(448, 1), (384, 3)], branch_pool=[(192, 1)],
    )  # fmt: skip


class Inception(nn.Module):
    """Images ``[B, C, H, W]`` in [-1, 1], C 1 or 3, to ``[B, 2048]`` and logits without their bias ``[B, 1008]``.

    Images become bytes, then 299 x 299 by antialiased bilinear interpolation, as in torchmetrics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({
            "Conv2d_1a_3x3": _Conv(3, 32, 3, 2, False),
            "Conv2d_2a_3x3": _Conv(32, 32, 3, 1, False),
            "Conv2d_2b_3x3": _Conv(32, 64, 3),
            "pool_1": nn.MaxPool2d(3, 2),
            "Conv2d_3b_1x1": _Conv(64, 80, 1),
            "Conv2d_4a_3x3": _Conv(80, 192, 3, 1, False),
            "pool_2": nn.MaxPool2d(3, 2),
            "Mixed_5b": _block_a(192, 32), "Mixed_5c": _block_a(256, 64), "Mixed_5d": _block_a(288, 64),
            "Mixed_6a": _block_b(288),
            "Mixed_6b": _block_c(768, 128), "Mixed_6c": _block_c(768, 160), "Mixed_6d": _block_c(768, 160),
            "Mixed_6e": _block_c(768, 192),
            "Mixed_7a": _block_d(768),
            "Mixed_7b": _block_e(1280, _average), "Mixed_7c": _block_e(2048, _maximum),
        })  # fmt: skip
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.shape[1] not in (1, 3):
            raise ValueError(f"Inception: images must have 1 or 3 channels, got {images.shape[1]}")
        x = images.float().add(1).mul(127.5).round().clamp(0, 255).expand(-1, 3, -1, -1)
        x = F.interpolate(x, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        x = (x - 128) / 128
        for layer in self.layers.values():
            x = layer(x)
        vectors = x.mean((2, 3))
        return vectors, F.linear(vectors, self.fc.weight)


def inception(path: str | Path, *, device: torch.device | str = "cpu") -> Extractor:
    """The features and logits of :class:`Inception` with the weights in a file.

    Args:
        path: the ``state_dict`` as torch.save writes it (``pt_inception-2015-12-05-6726825d.pth``, published with the
            releases of pytorch-fid and torch-fidelity), or as safetensors. Nothing is downloaded.
        device: where the network runs.

    Raises ValueError for a file that is missing, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file of Inception weights; docs/metrics.md says where to get one")
    weights = _weights(path)
    network = Inception()
    try:
        network.layers.load_state_dict({name: value for name, value in weights.items() if not name.startswith("fc.")})
        network.fc.load_state_dict({name[3:]: value for name, value in weights.items() if name.startswith("fc.")})
    except (RuntimeError, AttributeError) as error:
        first = [line.strip() for line in str(error).splitlines()]
        raise ValueError(f"{path}: not the weights of this Inception: {(first[1:] or first)[0]:.200}") from error
    return Extractor(network.to(device).requires_grad_(False))


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    # What a file that is none of torch's leads its readers to.
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot read it as weights: {str(error).splitlines()[0]:.200}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path}: must hold a state_dict, names with tensors, got {type(found).__name__}")
    return {name: value for name, value in found.items() if not name.startswith("AuxLogits.")}
