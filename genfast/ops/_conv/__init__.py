"""What the convolution ops share: the problem, its candidates, and how one of them is chosen."""

from __future__ import annotations

from genfast.ops._conv.problem import Candidate, Epilogue, Problem

__all__ = ["Candidate", "Epilogue", "Problem"]
