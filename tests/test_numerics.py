"""The modes of numerics, and that the convolutions obey them."""

from __future__ import annotations

import threading

import pytest
import torch

import genfast
from genfast import numerics, set_numerics, tuning
from genfast.numerics import MAX_ERROR, RMS_ERROR, current


def test_blocks_nest_and_end() -> None:
    assert current() == "fast"
    with numerics("exact"):
        with numerics("fast"):
            assert current() == "fast"
        assert current() == "exact"
    with pytest.raises(ZeroDivisionError), numerics("exact"):
        _ = 1 / 0
    assert current() == "fast"


def test_a_block_is_of_its_thread_and_the_default_of_all() -> None:
    seen: list[str] = []

    def look() -> None:
        seen.append(current())

    def in_a_thread() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    with numerics("exact"):
        in_a_thread()
    set_numerics("exact")
    try:
        in_a_thread()
        with numerics("fast"):
            look()
    finally:
        set_numerics("fast")
    assert seen == ["fast", "exact", "fast"]


def test_unknown_modes() -> None:
    words = "mode must be one of fast, exact, got"
    with pytest.raises(ValueError, match=rf"genfast\.numerics: {words} 'precise'"), numerics("precise"):
        pass
    with pytest.raises(ValueError, match=rf"genfast\.set_numerics: {words} None"):
        set_numerics(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_convolutions_keep_to_the_bound(mode: str, generator: torch.Generator) -> None:
    x = torch.randn(1, 64, 28, 30, generator=generator)
    w = torch.randn(64, 64, 3, 3, generator=generator) / 24
    truth = torch.nn.functional.conv2d(x.double(), w.double(), padding=1)
    ways = [x, x.contiguous(memory_format=torch.channels_last)]
    eager = [torch.nn.functional.conv2d(way, w, padding=1).double() - truth for way in ways]
    tuning.clear()
    with numerics(mode):
        for _ in range(2):
            error = genfast.conv2d_act(x, w, padding=1, act="linear").double() - truth
            # The tuner proves the bound on inputs of its own: here is some room for others.
            assert error.abs().max() <= 1.25 * MAX_ERROR[mode] * max(e.abs().max() for e in eager)
            assert error.square().mean() <= (1.25 * RMS_ERROR) ** 2 * max(e.square().mean() for e in eager)


def test_exact_tries_no_inexact_candidate() -> None:
    x, w = torch.randn(1, 32, 32, 32), torch.nn.Parameter(torch.randn(32, 32, 3, 3), requires_grad=False)
    tried = {}
    for mode in ("fast", "exact"):
        tuning.clear()
        with numerics(mode):
            genfast.conv2d_act(x, w, padding=1)
        (choice,) = tuning.choices()
        assert f"numerics={mode}" in choice.key
        tried[mode] = set(choice.times) | set(choice.refused)
    assert "winograd_4x4" in tried["fast"] - tried["exact"]
    assert "winograd_2x2" in tried["exact"]
