"""Measurements that can be trusted: verified against float64, interleaved, with every baseline beside them."""

from __future__ import annotations

from genfast.bench.case import Case, Contender, Unavailable
from genfast.bench.record import Record
from genfast.bench.run import main
from genfast.bench.runner import Settings, run_case
from genfast.bench.suites import cases, names

__all__ = ["Case", "Contender", "Record", "Settings", "Unavailable", "cases", "main", "names", "run_case"]
