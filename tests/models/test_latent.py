from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from genfast.models import GAN, VAE, GANConfig, VAEConfig, latent
from genfast.training import save_gif


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return VAE(VAEConfig(kind="mlp", image_size=8, in_channels=1, latent=6, hidden=(16,)))


def test_interpolations_begin_and_end_where_they_should():
    a, b = torch.randn(5, 16, dtype=torch.float64), torch.randn(5, 16, dtype=torch.float64)
    for function in latent.INTERPOLATIONS.values():
        path = function(a, b, torch.tensor([0.0, 0.3, 1.0]))
        assert path.shape == (5, 3, 16)
        torch.testing.assert_close(path[:, 0], a)
        torch.testing.assert_close(path[:, 2], b)
        torch.testing.assert_close(function(a, b, 0.3), path[:, 1])


def test_slerp_goes_at_one_speed_along_the_sphere():
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    path = latent.slerp(a, b, torch.tensor([1 / 3, 2 / 3]))
    expected = [[2 * math.cos(w), 2 * math.sin(w), 0] for w in (math.pi / 6, math.pi / 3)]
    torch.testing.assert_close(path, torch.tensor(expected))
    assert latent.lerp(a, b, 0.5).norm() < 1.5


@pytest.mark.parametrize("scale", [1.0, 3.0, -1.0])
def test_slerp_between_parallel_latents_is_linear(scale):
    a = torch.tensor([1.0, 2.0, -1.0])
    found = latent.slerp(a, scale * a, torch.tensor([0.0, 0.25, 1.0]))
    assert found.isfinite().all()
    torch.testing.assert_close(found[[0, 2]], torch.stack([a, scale * a]), atol=1e-5, rtol=1e-5)
    if scale > 0:
        torch.testing.assert_close(found[1], (0.75 + 0.25 * scale) * a)


@pytest.mark.parametrize("interpolation", list(latent.INTERPOLATIONS))
def test_a_walk_passes_the_samples_of_its_seeds(vae, interpolation):
    images = latent.walk(vae, [5, 9, 2], stops=3, frames=4, interpolation=interpolation)
    assert images.shape == (9, 1, 8, 8)
    torch.testing.assert_close(images[::4], vae.sample(3, seeds=[5, 9, 2]), atol=1e-5, rtol=1e-5)
    steps = (images[1:] - images[:-1]).flatten(1).norm(dim=1)
    assert steps.max() < (images[4] - images[0]).norm() and steps.min() > 0


@pytest.mark.parametrize("method", latent.METHODS)
def test_a_direction_is_the_one_that_the_labels_were_made_of(method):
    torch.manual_seed(0)
    way = torch.nn.functional.normalize(torch.randn(8), dim=0)
    z = torch.randn(4000, 8)
    has = z @ way + 0.1 * torch.randn(4000) > 0
    found = latent.direction(z, has, method)
    assert torch.nn.functional.cosine_similarity(found, way, dim=0) > 0.99
    if method == "mean":
        # The mean of a normal variable's positive half is sqrt(2 / pi).
        assert abs(found.norm() - 2 * math.sqrt(2 / math.pi)) < 0.05
    else:
        torch.testing.assert_close(found.norm(), torch.tensor(1.0))


def test_latents_of_images_are_the_means_in_evaluation_mode():
    torch.manual_seed(0)
    vae = VAE(VAEConfig(image_size=8, in_channels=1, latent=4, channels=4, classes=3))
    x, labels = torch.randn(5, 1, 8, 8).tanh(), torch.tensor([0, 1, 2, 0, 1])
    found = latent.encoded(vae, x, labels)
    assert vae.training and not found.requires_grad
    torch.testing.assert_close(found, vae.eval().encode(x, labels)[0].detach(), atol=1e-5, rtol=1e-4)


def test_a_gif_has_a_frame_for_each_image(tmp_path):
    images = torch.linspace(-1, 1, 5)[:, None, None, None].expand(5, 1, 8, 8)
    path = save_gif(tmp_path / "walk.gif", images, seconds=0.2)
    with Image.open(path) as picture:
        assert picture.n_frames == 5 and picture.size == (128, 128) and picture.info["duration"] == 200
        assert picture.info["loop"] == 0
        for frame in range(5):
            picture.seek(frame)
            assert abs(picture.convert("L").getpixel((3, 3)) - 255 * frame / 4) <= 1


def test_what_is_refused(vae, tmp_path):
    z, has = torch.randn(4, 6), torch.tensor([True, False, True, True])
    for call, message in (
        (lambda: latent.lerp(z, z[:2], 0.5), r"lerp: a and b must have one shape .*\[4, 6\] and \[2, 6\]"),
        (lambda: latent.slerp(z, z, torch.ones(2, 2)), r"slerp: t must be a number or \[T\], got \[2, 2\]"),
        (
            lambda: latent.walk(vae, interpolation="cubic"),
            "one of linear, spherical, got 'cubic'",
        ),
        (lambda: latent.walk(vae, stops=1), "stops must be at least 2 and frames at least 1, got 1 and 8"),
        (lambda: latent.direction(z, has[:3]), r"got \[4, 6\] and \[3\]"),
        (lambda: latent.direction(z, torch.ones(4)), "labels must be of both kinds, got 4 of 4"),
        (lambda: latent.direction(z, torch.arange(4)), "labels must be bool, or 0 and 1, got torch.int64 with other"),
        (lambda: latent.direction(z, has, "svm"), "method must be one of mean, logistic, got 'svm'"),
        (lambda: save_gif(tmp_path / "a.png", torch.zeros(2, 1, 8, 8)), "suffix must be .gif, got '.png'"),
        (lambda: save_gif(tmp_path / "a.gif", torch.zeros(2, 1, 8, 8), seconds=0), "seconds must be at least 0.01"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    sequences = GAN(GANConfig(kind="sequence_gan", image_size=8, latent=4, channels=4))
    with pytest.raises(ValueError, match="model must make single images, got a sequence_gan"):
        latent.walk(sequences)
