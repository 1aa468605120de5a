"""Files that users own: written beside their place and renamed, so that no failure leaves half a file; and checked."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

VERSION = 1
"""Of the format of tensor files."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` to write to. It takes the place of ``path`` at the end, and is removed after an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # Some writers choose permissions of their own; the user's umask gives those of a file made here.
        beside.touch()
        mode = beside.stat().st_mode
        yield beside
        beside.chmod(mode)
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(beside)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        # A file system that is read-only objects to this too.
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], format: str) -> None:
    """Write a safetensors file with ``state`` as JSON in its metadata, and a checksum.

    Raises OSError, as where the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps({**state, "crc32": _crc32(tensors)})
    with replacing(path) as beside:
        try:
            save_file(tensors, beside, metadata={"format": format, "version": str(VERSION), "state": text})
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error


@contextmanager
def loading_tensors(path: Path, format: str, what: str) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """State and tensors that :func:`save_tensors` wrote under ``format``, of ``what`` in words.

    Raises ValueError for a file that is missing, corrupt, truncated, or of another format. So it does for a
    KeyError, TypeError or ValueError in the ``with`` block, where the caller takes the state apart.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: corrupt, truncated, or not a checkpoint: {error}") from error
    found = metadata.get("format")
    if found != format:
        other = f": its format is {found}, not {format}" if found else ""
        raise ValueError(f"{path}: a safetensors file, but not a checkpoint of a {what}{other}")
    if metadata.get("version") != str(VERSION):
        raise ValueError(f"{path}: format version {metadata.get('version')}, this genfast reads version {VERSION}")
    try:
        state = json.loads(metadata["state"])
        if state["crc32"] != _crc32(tensors):
            raise ValueError("the checksum of its tensors is wrong")
        yield state, tensors
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: corrupt checkpoint: {error!r}") from error


def format_of(path: Path) -> str | None:
    """The format that :func:`save_tensors` wrote ``path`` under; None for any other file, or none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format")
    except (SafetensorError, OSError):
        return None


def misfit(error: Exception) -> str:
    """The first of the many complaints of load_state_dict, in one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return f"{(lines[1:] or lines)[0]:.200}"


def _crc32(tensors: Mapping[str, Tensor]) -> int:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, value)
    return value
