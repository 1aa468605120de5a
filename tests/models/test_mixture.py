"""The prior of a VAE that is fitted once it is trained."""

from __future__ import annotations

import builtins

import pytest
import torch

from genfast import Stream, normal_noise, uniform_noise
from genfast.models import VAE, VAEConfig
from genfast.models.mixture import Mixture

MEANS = torch.tensor([[-4.0, 0.0, 0.0], [4.0, 0.0, 1.0]])
FACTORS = torch.tensor([[[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1]], [[0.3, 0, 0], [0, 0.6, 0], [-0.5, 0, 0.2]]])
CONFIG = VAEConfig(kind="mlp", image_size=8, in_channels=1, latent=3, hidden=(8,), components=2)


def known(n=4000):
    """Latents of which a quarter are of the first of two Gaussians."""
    k = (torch.arange(n) % 4 > 0).long()
    noise = normal_noise([n, 3], 1)
    return MEANS[k] + (FACTORS[k] @ noise[:, :, None])[:, :, 0]


@pytest.fixture(scope="module")
def fitted():
    model = VAE(CONFIG)
    model.fit_prior(known(), seed=3)
    return model


def test_known_mixture_is_found(fitted):
    prior = fitted.prior
    order = prior.means[:, 0].argsort()
    torch.testing.assert_close(prior.weights[order], torch.tensor([0.25, 0.75]), atol=1e-3, rtol=0)
    torch.testing.assert_close(prior.means[order], MEANS, atol=0.1, rtol=0)
    torch.testing.assert_close(prior.factors[order], FACTORS, atol=0.06, rtol=0)


def test_samples_have_the_moments_of_the_mixture(fitted):
    latents, z = known(), fitted.latents(20000, 7)
    torch.testing.assert_close(z.mean(0), latents.mean(0), atol=0.08, rtol=0)
    torch.testing.assert_close(z.T.cov(), latents.T.cov(), atol=0.15, rtol=0)
    assert abs((z[:, 0] < 0).float().mean() - 0.25) < 0.01


def test_a_latent_is_that_of_its_component_in_float64(fitted):
    prior, seeds = fitted.prior, torch.arange(64)
    u = uniform_noise([64, 1], seeds, stream=Stream.COMPONENT)[:, 0]
    k = (u >= prior.weights[0]).long()
    noise = normal_noise([64, 3], seeds, stream=Stream.LATENT).double()
    expected = prior.means[k].double() + (prior.factors[k].double() @ noise[:, :, None])[:, :, 0]
    torch.testing.assert_close(fitted.latents(64, seeds).double(), expected, atol=1e-5, rtol=1e-5)


def test_a_seed_has_the_same_bits_in_any_batch(fitted):
    together = fitted.latents(37, 40)
    parts = [fitted.latents(1, 40), fitted.latents(19, 41), fitted.latents(17, torch.arange(60, 77))]
    assert torch.equal(torch.cat(parts), together)


def test_before_it_is_fitted_a_latent_is_standard_normal():
    assert torch.equal(VAE(CONFIG).latents(9, 4), normal_noise([9, 3], 4, stream=Stream.LATENT))


def test_a_seed_gives_one_fit():
    mixtures = [Mixture(4, 3) for _ in range(3)]
    for mixture, seed in zip(mixtures, (5, 5, 6), strict=True):
        mixture.fit(known(400), seed)
    a, b, other = (mixture.means for mixture in mixtures)
    assert torch.equal(a, b) and not torch.equal(a, other)


def test_the_prior_is_saved_with_the_model(fitted, tmp_path):
    loaded = VAE.load(fitted.save(tmp_path / "vae.safetensors"))
    assert torch.equal(loaded.latents(5, 2), fitted.latents(5, 2))


def test_equal_latents_make_no_singular_covariance():
    mixture = Mixture(2, 3)
    mixture.fit(torch.arange(2.0).repeat(8)[:, None].expand(-1, 3))
    assert all(buffer.isfinite().all() for buffer in mixture.buffers())


def test_what_cannot_be_fitted_is_refused(monkeypatch):
    model = VAE(CONFIG)
    with pytest.raises(ValueError, match=r"latents must be \[N, 3\] with N at least 2, got \[1, 3\]"):
        model.fit_prior(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"latents must be \[N, 3\] with N at least 2, got \[9, 4\]"):
        model.fit_prior(torch.zeros(9, 4))
    with pytest.raises(ValueError, match="latents must be finite"):
        model.fit_prior(torch.full((9, 3), float("nan")))
    with pytest.raises(ValueError, match="components must be positive, got 0"):
        VAE(VAEConfig.digits("mlp")).fit_prior(torch.zeros(9, 16))
    with pytest.raises(ValueError, match="VAEConfig: components must be 0 for a conditional VAE, got 2"):
        VAEConfig(classes=3, components=2)
    with pytest.raises(ValueError, match="VAEConfig: components must be an int of at least 0, got -1"):
        VAEConfig(components=-1)
    found = builtins.__import__

    def lacking(name, *rest):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ImportError, match=r"pip install genfast\[train\]"):
        model.fit_prior(torch.zeros(9, 3))
