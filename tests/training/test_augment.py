from __future__ import annotations

import math

import torch

from genfast.training.augment import augmented
from genfast.training.sequences import swinging


def test_nothing_asked_for_is_nothing_done():
    pixels = torch.rand(3, 1, 4, 4)
    assert augmented(pixels, 0) is pixels


def test_images_move_by_every_distance_and_their_border_comes_in():
    image = torch.arange(25.0).reshape(1, 1, 5, 5)
    moved = augmented(image.expand(200, -1, -1, -1), 3, crop=2)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="replicate")
    crops = {tuple(padded[0, 0, y : y + 5, x : x + 5].flatten().tolist()) for y in range(5) for x in range(5)}
    assert {tuple(one.flatten().tolist()) for one in moved} == crops


def test_augmentation_does_not_depend_on_the_batch():
    pixels = torch.rand(6, 2, 5, 7)
    whole = augmented(pixels, 10, flips=True, crop=1)
    parts = [augmented(pixels[i : i + 2], 10 + i, flips=True, crop=1) for i in (0, 2, 4)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, pixels)


def test_sequences_swing_about_the_centre():
    """A quarter turn between the extremes of the swing takes a point from the right of the centre to below it."""
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 7] = 1.0
    frames = swinging(image, 0, frames=400, swing=math.pi / 2, step=2 * math.pi / 400)[0]
    assert frames.shape == (400, 1, 9, 9)
    assert (frames[:, 0, 1, 4].max() > 0.9) and (frames[:, 0, 7, 4].max() > 0.9) and (frames[:, 0, 4, 7].max() > 0.9)
    assert frames[:, 0, 4, 1].max() < 0.1
    assert (frames[1:] - frames[:-1]).abs().max() < 0.1
