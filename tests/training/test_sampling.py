from __future__ import annotations

import pytest
import torch

from genfast import Sampler
from genfast.training import sample_images

SHAPE = (1, 8, 8)


@pytest.fixture
def model(make_trainer):
    return make_trainer().ema.model


@pytest.fixture
def sampler():
    return Sampler("ddim", "cosine", "v", clip=1.0)


def test_an_image_depends_on_its_seed_and_not_on_its_batch(model, sampler):
    together = sample_images(model, sampler, SHAPE, seeds=[5, 6, 7, 8, 9], labels=[0, 1, 2, 0, 1], steps=3)
    assert together.shape == (5, 1, 8, 8)
    assert together.abs().max() <= 1
    batched = sample_images(model, sampler, SHAPE, seeds=range(5, 10), labels=[0, 1, 2, 0, 1], steps=3, batch_size=2)
    torch.testing.assert_close(batched, together, rtol=0, atol=1e-5)
    alone = sample_images(model, sampler, SHAPE, seeds=[8], labels=[0], steps=3)
    torch.testing.assert_close(alone, together[3:4], rtol=0, atol=1e-5)
    assert not torch.allclose(together[0], together[3])
    tensors = {"seeds": torch.arange(5, 10), "labels": torch.tensor([0, 1, 2, 0, 1])}
    assert torch.equal(sample_images(model, sampler, SHAPE, steps=3, **tensors), together)


def test_labels_and_guidance_change_the_image(model, sampler):
    plain, first, second = (
        sample_images(model, sampler, SHAPE, seeds=[1], labels=labels, steps=3) for labels in (None, [0], [1])
    )
    guided = sample_images(model, sampler, SHAPE, seeds=[1], labels=[0], guidance=3.0, steps=3)
    unguided = sample_images(model, sampler, SHAPE, seeds=[1], labels=[0], guidance=0.0, steps=3)
    assert not torch.equal(first, second)
    assert not torch.equal(first, guided)
    torch.testing.assert_close(unguided, plain, rtol=0, atol=1e-5)


def test_steps_guidance_and_noise_follow_their_image_into_its_batch(model, sampler):
    steps, guidance, noise = [2, 3, 4], [1.0, 2.0, 0.0], torch.randn(3, *SHAPE)
    together = sample_images(
        model, sampler, SHAPE, seeds=[5, 6, 7], labels=[0, 1, 2], steps=steps, guidance=guidance, noise=noise,
        batch_size=2,
    )  # fmt: skip
    for i in range(3):
        alone = sample_images(
            model, sampler, SHAPE, seeds=[5 + i], labels=[i], steps=steps[i], guidance=guidance[i],
            noise=noise[i : i + 1],
        )  # fmt: skip
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "seeds must hold at least one seed"),
        ({"seeds": [1], "labels": [3]}, r"labels must be in \[0, 2\], got 3 to 3"),
        ({"seeds": [1, 2], "labels": [0]}, "labels must be 2, one per seed, got 1"),
        ({"seeds": [1], "guidance": 2.0}, "guidance 2.0 needs labels"),
        ({"seeds": [1], "batch_size": 0}, "batch_size must be at least 1"),
        ({"seeds": [1, 2], "steps": [3]}, "steps must be one number or 2, one per seed, got 1"),
        ({"seeds": [1, 2], "labels": [0, 1], "guidance": [1.0] * 3}, "guidance must be one number or 2, one per seed"),
        ({"seeds": [1, 2], "noise": torch.zeros(1, *SHAPE)}, "noise must hold 2 images, one per seed, got 1"),
    ],
)
def test_bad_arguments_are_refused(model, sampler, options, message):
    with pytest.raises(ValueError, match=message):
        sample_images(model, sampler, SHAPE, **options)
