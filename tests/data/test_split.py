from __future__ import annotations

import pytest
import torch

from genfast.data import TensorImages, split


@pytest.fixture
def images():
    return TensorImages(torch.arange(40.0).view(10, 1, 2, 2) / 40, torch.arange(10) % 2, ["a", "b"])


def test_parts_are_disjoint_and_whole(images):
    train, kept = split(images, 0.3, seed=1)
    assert (len(train), len(kept)) == (7, 3)
    assert (train.shape, train.classes) == (images.shape, 2)
    together = torch.cat([train[range(7)][0], kept[range(3)][0]])
    assert torch.equal(together.sort(dim=0).values, images.pixels)
    pixels, labels = train[[2, 0]]
    assert torch.equal(pixels, images.pixels[[train.indices[2], train.indices[0]]])
    assert labels.tolist() == [train.indices[2] % 2, train.indices[0] % 2]
    assert split(images, 0.3, seed=1)[1].indices == kept.indices
    assert split(images, 0.3, seed=2)[1].indices != kept.indices


def test_no_share_is_no_split(images):
    assert split(images, 0.0) == (images, None)
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\), got 1"):
        split(images, 1.0)
