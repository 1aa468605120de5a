"""Starting from an image: at a strength, around what is known, and back to its noise."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from gaussians import mixture

import genfast
from genfast.samplers.grid import Point

SHAPE = (2, 1, 6, 6)
COSINE = genfast.Schedule.cosine()


def model(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x) + t.to(x.dtype).reshape(-1, 1, 1, 1) / 4000


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_2m"])
def test_img2img_starts_at_the_level_of_its_strength(name):
    sampler, image = genfast.Sampler(name, COSINE), torch.rand(SHAPE) * 2 - 1
    seen = []

    def first(x, t):
        seen.append((x, t))
        return model(x, t)

    sampler.img2img(first, image, 0.5, steps=10, seeds=3)
    assert len(seen) == 5
    alpha, sigma = COSINE.alpha_sigma(seen[0][1])
    expected = genfast.add_noise(image, alpha, sigma, seeds=3, stream=genfast.Stream.INITIAL)
    torch.testing.assert_close(seen[0][0], expected)


def test_img2img_strength_per_sample():
    sampler, image = genfast.Sampler("dpmpp_2m", COSINE), torch.rand(SHAPE) * 2 - 1
    both = sampler.img2img(model, image, [0.3, 0.9], steps=10, seeds=[3, 4])
    for b, strength in enumerate((0.3, 0.9)):
        alone = sampler.img2img(model, image[b : b + 1], strength, steps=10, seeds=[3 + b])
        torch.testing.assert_close(both[b : b + 1], alone)


@pytest.mark.parametrize("name", ["ddpm", "euler", "heun", "dpmpp_2m_sde", "unipc"])
def test_inpainting_keeps_what_is_known(name):
    sampler, image = genfast.Sampler(name, "scaled_linear", clip=1.0), torch.rand(SHAPE) * 2 - 1
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., 3:] = 1
    result = sampler.inpaint(model, image, mask, steps=8, seeds=5)
    assert torch.equal(result[..., :3], image[..., :3])
    assert (result[..., 3:] - image[..., 3:]).abs().max() > 0.1
    everything = sampler.inpaint(model, image, torch.ones(()), steps=8, seeds=5)
    torch.testing.assert_close(everything, sampler.sample(model, SHAPE, steps=8, seeds=5), rtol=1e-4, atol=1e-4)


def test_inpainting_shows_the_model_the_known_region_at_its_level():
    """The known pixels that the model sees have the noise of the step's level, drawn afresh each time."""
    sampler, image = genfast.Sampler("euler", COSINE), torch.full((1, 1, 64, 64), 0.5)
    levels = []

    def watch(x, t):
        alpha, sigma = COSINE.alpha_sigma(t)
        levels.append((x - alpha * image) / sigma)
        return model(x, t)

    sampler.inpaint(watch, image, torch.zeros(1), steps=5)
    for noise in levels:
        assert abs(float(noise.mean())) < 0.06 and abs(float(noise.std()) - 1) < 0.05
    for a, b in pairwise(levels):
        assert abs(float((a * b).mean())) < 0.06


@pytest.mark.parametrize("name", ["ddim", "euler", "deis", "dpmpp_2m"])
@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_inversion_and_back(name, prediction):
    """An image, inverted and sampled again, comes back, the closer the more steps."""
    image = torch.linspace(-1.4, 1.4, 64, dtype=torch.float64).reshape(1, 64)

    def exact(sampler: genfast.Sampler):
        def call(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            alpha, sigma = (float(v) for v in sampler.schedule.alpha_sigma(t[0], torch.float64))
            point = Point(0.0, alpha, sigma)
            x0 = mixture([point])(x, t)
            z = (x - alpha * x0) / sigma
            return {"epsilon": z, "v": alpha * z - sigma * x0, "x0": x0}[prediction]

        return call

    schedule = genfast.Schedule.linear(4000, beta_end=0.005)
    errors = []
    for steps in (50, 400):
        sampler = genfast.Sampler(name, schedule, prediction, spacing="trailing", final="zero")
        x_T = sampler.invert(exact(sampler), image, steps=steps)
        back = sampler.sample(exact(sampler), image.shape, steps=steps, x_T=x_T)
        errors.append(float((back - image).abs().max()))
    assert errors[1] < 0.25 * errors[0] and errors[1] < 0.03
