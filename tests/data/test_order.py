from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genfast.data import Shuffle


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 2**63), st.integers(0, 3))
def test_every_epoch_is_a_permutation(length, seed, epoch):
    order = Shuffle(length, seed).take(epoch * length, length)
    assert sorted(order.tolist()) == list(range(length))


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 90), st.lists(st.integers(0, 20), max_size=6))
def test_position_is_the_whole_state(length, start, counts):
    """However the sequence is cut, and whoever reads it from the middle, it is the same."""
    parts, position = [], start
    for count in counts:
        parts.append(Shuffle(length, 7).take(position, count))
        position += count
    together = Shuffle(length, 7).take(start, sum(counts))
    assert torch.equal(torch.cat([torch.empty(0, dtype=torch.int64), *parts]), together)


def test_batches_run_across_epochs():
    order = Shuffle(5, 1)
    flat = [i for batch in islice(order.batches(3), 5) for i in batch]
    assert flat == order.take(0, 15).tolist()
    assert next(order.batches(3, position=6)) == flat[6:9]


def test_epochs_and_seeds_differ():
    order = Shuffle(100, 3)
    assert not torch.equal(order.take(0, 100), order.take(100, 100))
    assert not torch.equal(order.take(0, 100), Shuffle(100, 4).take(0, 100))


def test_no_place_is_favoured():
    """Mean position of each index over many epochs, within five standard errors."""
    length, epochs = 10, 400
    order = Shuffle(length, 5)
    places = torch.stack([order.take(e * length, length).argsort() for e in range(epochs)]).double()
    assert ((places.mean(0) - 4.5).abs() < 5 * (99 / 12 / epochs) ** 0.5).all()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        Shuffle(0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        next(Shuffle(3).batches(0))
    with pytest.raises(ValueError, match="must be at least 0, got -1 and 2"):
        Shuffle(3).take(-1, 2)
