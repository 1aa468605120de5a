"""``conv_transpose2d_act`` in Triton: every ``stride``-th output is a convolution of stride 1 with some of the taps."""

from __future__ import annotations

import math

from torch import Tensor

from genfast.ops._conv.problem import Epilogue, Problem
from genfast.ops.conv2d_act.triton_kernel import Tile, launch_with


def launch(
    problem: Problem, tile: Tile, x: Tensor, weight: Tensor, out: Tensor, bias: Tensor | None,
    residual: Tensor | None, epilogue: Epilogue,
) -> None:  # fmt: skip
    """As :func:`genfast.ops.conv2d_act.triton_kernel.launch`."""
    (stride_h, stride_w), (dilation_h, dilation_w) = problem.stride, problem.dilation
    # From one tap that an output sees to its next.
    step_h, step_w = stride_h // math.gcd(stride_h, dilation_h), stride_w // math.gcd(stride_w, dilation_w)
    geometry = {
        "PAD": problem.padding, "OUT_STEP": problem.stride, "IN_STEP": (1, 1), "TAP_STEP": (step_h, step_w),
        "IN_TAP": (-(step_h * dilation_h // stride_h), -(step_w * dilation_w // stride_w)),
    }  # fmt: skip
    launch_with(geometry, problem, tile, x, weight, out, bias, residual, epilogue)
