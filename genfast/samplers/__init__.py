"""Samplers: each a table of coefficients, all run by one kernel."""

from genfast.ops.sampler_step.coefficients import Coefficient
from genfast.samplers import (  # noqa: F401  (each lists its solvers)
    ddim,
    ddpm,
    deis,
    dpm2,
    dpmpp_multistep,
    dpmpp_sde,
    dpmpp_singlestep,
    euler,
    heun,
    ipndm,
    lcm,
    lms,
    tcd,
    unipc,
)
from genfast.samplers.options import RunOptions
from genfast.samplers.run import Step
from genfast.samplers.sampler import Sampler
from genfast.samplers.solvers import names

__all__ = ["Coefficient", "RunOptions", "Sampler", "Step", "names"]
