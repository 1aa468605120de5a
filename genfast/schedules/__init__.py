"""Noise schedules: what is trained on, and where a sampler steps."""

from genfast.schedules.discretise import SPACINGS, Discretisation
from genfast.schedules.schedule import Schedule

__all__ = ["SPACINGS", "Discretisation", "Schedule"]
