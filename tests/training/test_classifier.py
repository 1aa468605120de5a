from __future__ import annotations

import pytest
import torch

from genfast.data import TensorImages, digits
from genfast.training import recognition, train_classifier


@pytest.fixture(scope="module")
def split():
    pixels, labels = digits()[range(1797)]
    return (pixels[:1400], labels[:1400]), (pixels[1400:], labels[1400:])


@pytest.fixture(scope="module")
def classifier(split):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield train_classifier(TensorImages(*split[0], [str(d) for d in range(10)]), epochs=8)
    torch.set_num_threads(threads)


def test_digits_it_has_not_seen_are_recognised(classifier, split):
    found = recognition(classifier, *split[1])
    assert found.agreement > 0.94
    assert found.share > 0.75
    assert sum(found.counts) == round(found.share * 397)
    assert min(found.counts) > 10


def test_what_is_no_digit_is_not_recognised(classifier, split):
    """What the samples are judged by must not be sure of anything it is shown."""
    pixels = split[1][0]
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(400, 1, 8, 8, generator=generator) * 2 - 1
    shuffled = pixels.flatten(2)[:, :, torch.randperm(64, generator=generator)].unflatten(2, (8, 8))
    noisy = (pixels + 0.8 * torch.randn(pixels.shape, generator=generator)).clamp(-1, 1)
    for images in (noise, shuffled, noisy, torch.zeros(3, 1, 8, 8)):
        assert recognition(classifier, images).share < 0.05


def test_many_images_are_seen_in_parts(classifier, split):
    """Or the activations of a set such as MNIST would take gigabytes."""
    seen = []
    hook = classifier.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    pixels, labels = split[0]
    found = recognition(classifier, pixels, labels)
    hook.remove()
    assert seen == [1024, 376]
    parts = [recognition(classifier, pixels[k::2], labels[k::2]) for k in (0, 1)]
    assert found.counts == tuple(map(sum, zip(*(part.counts for part in parts), strict=True)))
    assert found.agreement == pytest.approx(sum(part.agreement for part in parts) / 2)


@pytest.mark.parametrize("batch_size", [1, 8, 16])
def test_few_images_and_small_batches_are_learned_from(split, batch_size):
    pixels, labels = split[0]
    images = TensorImages(pixels[:10], labels[:10], [str(d) for d in range(10)])
    seen = recognition(train_classifier(images, epochs=60, batch_size=batch_size), images.pixels, images.labels)
    assert seen.agreement > 0.8


def test_bad_arguments_are_refused(classifier):
    with pytest.raises(ValueError, match="images must have labels"):
        train_classifier(TensorImages(torch.zeros(4, 1, 8, 8)))
    with pytest.raises(ValueError, match="at least one image"):
        recognition(classifier, torch.zeros(0, 1, 8, 8))
