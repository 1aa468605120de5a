from __future__ import annotations

import os
import signal

import pytest
import torch
from latent_models import VAE_QUICK, Poisoned, differing, run_vae, vae_config
from torch.nn import functional as F

from genfast import Stream, normal_noise
from genfast.models import VAE
from genfast.random import mix_seed
from genfast.training import (
    TrainingDiverged,
    TrainingInterrupted,
    VAECheckpoint,
    VAETrainer,
    VAETrainingConfig,
    load_checkpoint,
    sample_latents,
)
from genfast.training.setup import initialised


def make(images, fused=True, model=None, **config):
    network = initialised(1, lambda: VAE(model or vae_config(), fused))
    return VAETrainer(network, images, VAETrainingConfig(**(VAE_QUICK | config)))


@pytest.mark.parametrize(
    "model", [vae_config(), vae_config("conv", likelihood="bernoulli"), vae_config("conv", classes=3)]
)
def test_every_kind_trains_and_samples(images, tmp_path, model):
    trainer = run_vae(images, tmp_path, model=model, sample_every=6)
    labels = [0, 1] if model.classes else None
    expected = trainer.result.sample(2, seeds=[5, 9], labels=labels)
    loaded = load_checkpoint(tmp_path, VAECheckpoint)
    assert torch.equal(sample_latents(loaded.model(), seeds=[5, 9], labels=labels), expected)
    pictures = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert pictures == ["reconstructions_000006.png", "samples_000006.png"]


def test_run_resumed_after_ctrl_c_has_the_bits_of_an_uninterrupted_one(images, tmp_path):
    def interrupt(result):
        if result.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    run_vae(images, tmp_path / "whole")
    with pytest.raises(TrainingInterrupted):
        run_vae(images, tmp_path / "parts", callback=interrupt)
    run_vae(images, tmp_path / "parts", model=None, config=None, resume=True)
    expected, found = (load_checkpoint(tmp_path / name, VAECheckpoint) for name in ("whole", "parts"))
    assert any(name.startswith("best.") for name in expected.tensors)
    assert differing(expected.tensors, found.tensors) == []
    assert (found.best_loss, found.best_step, found.misses) == (
        expected.best_loss, expected.best_step, expected.misses,
    )  # fmt: skip


def test_divergence_keeps_the_last_good_state(images, tmp_path):
    """Running statistics among it, which a forward pass changes before the loss is known."""
    with pytest.raises(TrainingDiverged, match=r"the loss is nan .* at step 2"):
        run_vae(Poisoned(images, 2), tmp_path, model=vae_config("conv"), config=VAE_QUICK | {"validation": 0.0})
    kept = load_checkpoint(tmp_path, VAECheckpoint)
    assert kept.step == 1
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())


@pytest.mark.parametrize("validation", [0.25, 0.0])
def test_prior_is_fitted_when_the_run_ends_and_anew_when_it_is_made_longer(images, tmp_path, validation):
    """Of the best weights where there are such, else of the average."""
    model = vae_config(components=3)
    config = VAE_QUICK | {"validation": validation, "schedule": "constant"}
    whole = run_vae(images, tmp_path / "whole", model=model, config=config)
    run_vae(images, tmp_path / "parts", model=model, config=config | {"steps": 4})
    run_vae(images, tmp_path / "parts", model=None, config={"steps": 6}, resume=True)
    expected, found = (load_checkpoint(tmp_path / name, VAECheckpoint) for name in ("whole", "parts"))
    assert differing(expected.tensors, found.tensors) == []
    result = found.model()
    means, _ = result.encode(whole._source[range(len(whole._source))][0])
    torch.testing.assert_close(result.prior.weights @ result.prior.means, means.mean(0), rtol=1e-3, atol=1e-5)
    assert torch.equal(result.sample(3), whole.result.sample(3))
    assert not whole.model.prior.means.any()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_loss_is_the_negative_elbo(images, likelihood):
    trainer = make(images, model=vae_config(likelihood=likelihood))
    pixels, _ = images[range(8)]
    found = trainer.losses(trainer.model, pixels, None, 7, 0.5)
    model, x = trainer.model.double(), pixels.double()
    mu, logvar = model.encode(x)
    z = mu + (logvar / 2).exp() * normal_noise([8, 8], 7, stream=Stream.LATENT).double()
    kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1).mean()
    y = model.decode(z)
    if likelihood == "bernoulli":
        expected = F.binary_cross_entropy_with_logits(y, (x + 1) / 2, reduction="sum") / 8
    else:
        expected = (y - x).square().sum() / 8
    torch.testing.assert_close(torch.stack(found).double(), torch.stack([expected, 0.5 * kl]), rtol=1e-4, atol=1e-6)


def test_images_kept_back_are_never_trained_on(images):
    trainer = make(images, steps=12)
    kept = trainer._kept_back.indices
    assert len(kept) == 5
    assert sorted([*trainer._source.indices, *kept]) == list(range(20))
    seen = []
    step = trainer.train_step
    trainer.train_step = lambda pixels, labels: seen.append(pixels) or step(pixels, labels)
    list(trainer.steps())
    trained = {tuple(image.flatten().tolist()) for image in torch.cat(seen)}
    assert not trained & {tuple(image.flatten().tolist()) for image in images.pixels[kept]}


def test_run_stops_where_it_gains_nothing_and_keeps_its_best_weights(images, tmp_path):
    """A learning rate of 0 gains nothing after the first look; what was best then is what the run gives."""
    trainer = run_vae(images, tmp_path, config=VAE_QUICK | {"lr": 0.0, "patience": 2, "steps": 50})
    assert (trainer.step, trainer.best_step) == (6, 2)
    assert trainer.stopped
    assert differing(trainer.result.state_dict(), load_checkpoint(tmp_path, VAECheckpoint).model().state_dict()) == []
    # A run that has stopped stays where it is.
    assert run_vae(images, tmp_path, model=None, config=None, resume=True).step == 6


def test_a_run_that_stops_early_says_why_and_says_it_again(images, tmp_path, capsys):
    config = VAE_QUICK | {"lr": 0.0, "patience": 2, "steps": 50}
    run_vae(images, tmp_path, config=config, progress=True)
    first = capsys.readouterr().err
    assert "stopped early after step 6: the best loss on the images kept back is still that of step 2" in first
    run_vae(images, tmp_path, model=None, config={"steps": 90}, resume=True, progress=True)
    assert capsys.readouterr().err.splitlines() == first.splitlines()[-1:]


def test_divergence_weight_warms_up(images):
    config = VAETrainingConfig(beta_warmup=3)
    assert [config.beta_share_at(step) for step in (0, 1, 2, 3, 9)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    trainer = make(images, beta=2.0, beta_warmup=1, lr=0.0)
    pixels, labels = images[range(4)]
    first = trainer.train_step(pixels, labels)
    trainer.position = 0
    assert trainer.train_step(pixels, labels).kl == pytest.approx(2 * first.kl)


def test_eager_twin_takes_the_same_steps(images):
    for likelihood, reconstruction in (("bernoulli", None), ("gaussian", "l1"), ("gaussian", "mse")):
        options = {"model": vae_config(likelihood=likelihood), "reconstruction": reconstruction, "free_bits": 0.1}
        fused, plain = (make(images, fused=fused, steps=2, **options) for fused in (True, False))
        for a, b in zip(fused.steps(), plain.steps(), strict=True):
            for name, value in a.scalars().items():
                assert value == pytest.approx(b.scalars()[name], rel=1e-3), name


def test_latents_depend_on_the_seed(images):
    losses = [next(make(images, seed=seed).steps()).reconstruction for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert mix_seed(0) != mix_seed(1)


def test_what_does_not_fit_is_refused(images):
    with pytest.raises(ValueError, match="the reconstruction bce_logits does not fit a gaussian likelihood"):
        make(images, reconstruction="bce_logits")
    with pytest.raises(ValueError, match="the model has 2 classes, but the images have 3"):
        make(images, model=vae_config(classes=2))
    # Not in the last step, which fits them.
    with pytest.raises(ValueError, match=r"the model's 16 components need as many images .* at least 2, got 15"):
        make(images, model=vae_config(components=16))
    for field, value in (("beta", -1.0), ("validation", 1.0), ("patience", 0), ("reconstruction", "ssim")):
        with pytest.raises(ValueError, match=f"VAETrainingConfig: {field} must be"):
            VAETrainingConfig(**{field: value})
