"""How far a kernel's rounding errors may lie above the vendor library's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MODES = ("fast", "exact")
MAX_ERROR = {"fast": 4.0, "exact": 2.0}
"""Largest error of an output element, in largest errors of PyTorch on the same inputs."""
RMS_ERROR = 2.0
"""Root mean square of the errors, in that of PyTorch."""


def _check(mode: str, origin: str) -> str:
    if mode not in MODES:
        raise ValueError(f"{origin}: mode must be one of {', '.join(MODES)}, got {mode!r}")
    return mode


_default = _check(os.environ.get("GENFAST_NUMERICS") or "fast", "GENFAST_NUMERICS")
_forced: ContextVar[str | None] = ContextVar("genfast_numerics", default=None)


@contextmanager
def numerics(mode: str) -> Iterator[None]:
    """Choose, inside the ``with`` block, which rounding errors an op may make for the sake of speed.

    Errors are measured against float64 on the same inputs, and counted in those of PyTorch's own kernels: where it
    has several that sum in different orders, in those of the least exact.

    * ``"fast"``, the default: the largest error is at most 4 times PyTorch's and the root mean square at most
      twice, plus an ulp of the output's dtype. Winograd's F(4x4, 3x3) convolution is in this class.
    * ``"exact"``: the largest error too is at most twice PyTorch's, plus an ulp, and algorithms that are known to be
      less exact than the vendor library's are not tried. Direct convolutions and Winograd's F(2x2, 3x3) are exact.

    :func:`genfast.set_numerics` changes the default for the whole process, and the environment variable
    ``GENFAST_NUMERICS`` before it starts.

    Args:
        mode: ``"fast"`` or ``"exact"``.

    Raises ValueError for any other mode.
    """
    token = _forced.set(_check(mode, "genfast.numerics"))
    try:
        yield
    finally:
        _forced.reset(token)


def set_numerics(mode: str) -> None:
    """Set the ``mode`` that holds outside of :func:`genfast.numerics`, for all threads: ``"fast"`` or ``"exact"``.

    Raises ValueError for any other mode.
    """
    global _default
    _default = _check(mode, "genfast.set_numerics")


def current() -> str:
    """The mode in force here: ``"fast"`` or ``"exact"``."""
    return _forced.get() or _default
