from __future__ import annotations

import pytest
import torch

from genfast.data import TensorImages, digits, load


def test_digits_are_the_1797_of_scikit_learn():
    images = digits()
    assert len(images) == 1797
    assert images.shape == (1, 8, 8)
    assert images.class_names == tuple("0123456789")
    pixels, labels = images[range(1797)]
    assert pixels.dtype == torch.float32
    assert (pixels.min(), pixels.max()) == (-1.0, 1.0)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_bytes_become_minus_one_to_one():
    images = TensorImages(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1))
    pixels, labels = images[[1, 0, 1]]
    assert pixels.flatten().tolist() == [1.0, -1.0, 1.0]
    assert labels is None
    assert images.classes is None


def test_resized_keeps_the_centre():
    pixels = torch.full((1, 1, 4, 8), -1.0)
    pixels[..., 2:6] = 0.5
    resized = TensorImages(pixels).resized(2)
    assert resized.shape == (1, 2, 2)
    torch.testing.assert_close(resized[[0]][0], torch.full((1, 1, 2, 2), 0.5), atol=0.2, rtol=0)
    assert load("digits", size=16).shape == (1, 16, 16)


@pytest.mark.parametrize(
    ("pixels", "labels", "names", "message"),
    [
        (torch.zeros(2, 8, 8), None, None, r"pixels must be uint8 or float32 \[N, C, H, W\]"),
        (torch.zeros(0, 1, 8, 8), None, None, "and hold images"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int32), None, None, "got torch.int32"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(2), None, "labels and class_names, or neither"),
        (torch.zeros(2, 1, 8, 8), torch.zeros(3), ["a"], r"labels must be \[2\], one per image, got \[3\]"),
        (torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ["a"], r"labels must be in \[0, 0\], got 0 to 1"),
    ],
)
def test_images_that_do_not_fit_are_refused(pixels, labels, names, message):
    with pytest.raises(ValueError, match=message):
        TensorImages(pixels, labels, names)


@pytest.mark.parametrize("spec", ["", "cifar", "digits:x", "mnist", "mnist:", "folder:", "emnist"])
def test_unknown_spec_lists_the_known_ones(spec):
    with pytest.raises(ValueError, match=r"data must be one of digits, mnist:DIR, .* got "):
        load(spec)


def test_bad_size_and_channels_are_refused():
    with pytest.raises(ValueError, match="size must be a positive int, got 0"):
        load("digits", size=0)
    with pytest.raises(ValueError, match="channels must be 1, got 3"):
        load("digits", channels=3)
