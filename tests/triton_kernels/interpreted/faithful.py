"""Triton's interpreter, rounding as a GPU rounds. Import before the first kernel runs."""

from __future__ import annotations

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter


def fma(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """``x * y + z`` of float32 arrays, rounded once: the exact product plus ``z``, rounded to odd on the way."""
    product, addend = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    total = np.atleast_1d(product + addend)
    shadow = total - product
    error = (product - (total - shadow)) + (addend - shadow)
    bits = total.view(np.int64)
    inexact = np.isfinite(total) & (error != 0) & ((bits & 1) == 0)
    toward = np.where((error > 0) == (total > 0), 1, -1)
    return np.where(inexact, bits + toward, bits).view(np.float64).astype(np.float32)


def _create_fma(self, x, y, z):
    """The interpreter multiplies and adds with two roundings."""
    assert x.data.dtype == y.data.dtype == z.data.dtype == np.float32
    return interpreter.TensorHandle(fma(x.data, y.data, z.data), z.dtype.scalar)


_convert_float = interpreter._convert_float


def _convert(value, source, target, rounding_mode):
    """The interpreter cuts float32 off to bfloat16, where a GPU rounds to nearest even."""
    if (source, target) == (tl.float32, tl.bfloat16):
        return torch.from_numpy(np.array(value)).bfloat16().view(torch.int16).numpy().view(np.uint16)
    return _convert_float(value, source, target, rounding_mode)


def _create_dot(self, a, b, d, input_precision, max_num_imprecise_acc):
    """The interpreter multiplies the bits of bfloat16 numbers, as if they were integers."""

    def wide(operand):
        if operand.dtype.scalar == tl.bfloat16:
            return (operand.data.astype(np.uint32) << 16).view(np.float32)
        return operand.data.astype(np.float32)

    return interpreter.TensorHandle(np.matmul(wide(a), wide(b)) + d.data, d.dtype.scalar)


def _call(self, *args, **kwargs):
    """A device function. The launch has patched the language already for all but Triton's own functions."""
    if self.fn.__module__.startswith("triton."):
        interpreter._patch_lang(self.fn)
    return self.rewrite()(*args, **kwargs)


_patch_lang_tensor = interpreter._patch_lang_tensor


def _patch_tensor(tensor, scope):
    """Triton 3.6 makes an int of a one-element array, which NumPy 2.4 refuses."""
    _patch_lang_tensor(tensor, scope)
    tensor.__index__ = lambda self: int(self.handle.data.item())


interpreter.InterpreterBuilder.create_fma = _create_fma
interpreter.InterpreterBuilder.create_dot = _create_dot
interpreter._patch_lang_tensor = _patch_tensor
interpreter._convert_float = _convert
interpreter.InterpretedFunction.__call__ = _call
np.seterr(all="ignore")
