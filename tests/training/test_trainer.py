from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from training_models import TINY

from genfast import Schedule, Stream, normal_noise, uniform_noise
from genfast.models import UNet, UNetConfig
from genfast.random import mix_seed
from genfast.training import Trainer, TrainingConfig, TrainingDiverged

STEADY = replace(TINY, dropout=0.0)


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in [*trainer.model.parameters(), *trainer.ema.model.parameters()]])


@pytest.mark.parametrize("target", ["epsilon", "v", "x0", "flow"])
def test_loss_is_the_formula(make_trainer, images, target):
    """Against float64 operations on the noise and times that the counters give."""
    trainer = make_trainer("flow" if target == "flow" else "linear", STEADY, target=target, label_dropout=0.5)
    pixels, labels = images[range(8)]
    seeds = 12345
    loss = trainer.loss(pixels, labels, seeds)
    z = normal_noise(pixels.shape, seeds, stream=Stream.TRAINING)
    t = trainer.schedule.times(uniform_noise([8, 1], seeds, stream=Stream.TIMESTEP)[:, 0])
    hidden = uniform_noise([8, 1], seeds, stream=Stream.LABEL_DROPOUT)[:, 0] < 0.5
    assert hidden.any()
    assert not hidden.all()
    alpha, sigma = (level[:, None, None, None] for level in trainer.schedule.alpha_sigma(t, torch.float64))
    x, z = pixels.double(), z.double()
    model = trainer.model.double()
    prediction = model(alpha * x + sigma * z, t, torch.where(hidden, 3, labels))
    wanted = {"epsilon": z, "v": alpha * z - sigma * x, "x0": x, "flow": z - x}[target]
    torch.testing.assert_close(loss.double(), (prediction - wanted).square().mean(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("weight", ["min_snr", "p2"])
def test_weights_change_the_loss(make_trainer, images, weight):
    pixels, labels = images[range(8)]
    plain = make_trainer(model=STEADY).loss(pixels, labels, 0)
    assert make_trainer(model=STEADY, weight=weight).loss(pixels, labels, 0) != plain


def test_noise_does_not_depend_on_how_images_are_batched(make_trainer, images):
    trainer = make_trainer(model=STEADY, flips=True)
    pixels, labels = images[range(8)]
    whole = trainer.loss(pixels, labels, 50)
    parts = [trainer.loss(pixels[i : i + 2], labels[i : i + 2], 50 + i) for i in range(0, 8, 2)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole, rtol=1e-5, atol=0)


def test_flips_mirror_about_half(make_trainer, images):
    """A model that returns zeros has for x0 the loss of the mean square: flips must not change it, but the input."""
    trainer = make_trainer(model=STEADY, flips=True, target="x0")
    seen = []
    trainer.model.forward = lambda x, t, labels: seen.append(x) or torch.zeros_like(x, requires_grad=True)
    pixels, labels = images[range(20)]
    loss = trainer.loss(pixels, labels, 7)
    torch.testing.assert_close(loss, pixels.square().mean())
    trainer.config = replace(trainer.config, flips=False)
    trainer.loss(pixels, labels, 7)
    changed = (seen[0] != seen[1]).flatten(1).any(1)
    assert 4 <= changed.sum() <= 16


def test_runs_repeat_and_seeds_matter(make_trainer):
    runs = []
    for seed in (0, 0, 1):
        trainer = make_trainer(seed=seed)
        list(trainer.steps(3))
        runs.append(weights(trainer))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_resumed_run_has_the_bits_of_an_uninterrupted_one(make_trainer, stop):
    """20 images in batches of 4: it also crosses an epoch. The network has dropout."""
    whole = make_trainer(flips=True)
    losses = [result.loss for result in whole.steps()]
    first = make_trainer(flips=True)
    list(first.steps(stop))
    second = make_trainer(flips=True)
    second.restore(first.checkpoint())
    assert [result.loss for result in second.steps()] == losses[stop:]
    assert torch.equal(weights(second), weights(whole))


def test_callers_random_state_is_left_alone(make_trainer):
    trainer = make_trainer()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    list(trainer.steps(2))
    assert torch.equal(torch.rand(3), expected)


def test_training_lowers_the_loss(make_trainer, images):
    trainer = make_trainer(model=STEADY, steps=60, lr=3e-3, target="epsilon", schedule="linear")
    pixels, labels = images[range(20)]
    with torch.no_grad():
        before = trainer.loss(pixels, labels, 99)
        list(torch.enable_grad()(lambda: list(trainer.steps()))())
        after = trainer.loss(pixels, labels, 99)
    assert after < 0.8 * before


def test_bfloat16_stays_near_float32(make_trainer, images):
    pixels, labels = images[range(8)]
    wide = make_trainer(model=STEADY).loss(pixels, labels, 0)
    narrow = make_trainer(model=STEADY, precision="bfloat16").loss(pixels, labels, 0)
    assert narrow != wide
    torch.testing.assert_close(narrow, wide, rtol=0.02, atol=0)


def test_gradient_is_clipped(make_trainer):
    trainer = make_trainer(clip=1e-3)
    norms = []
    trainer.optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]).norm().item())
    )
    result = next(trainer.steps())
    assert result.grad_norm > 1e-3
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)


def test_divergence_stops_before_the_weights_are_touched(make_trainer):
    trainer = make_trainer()
    list(trainer.steps(2))
    before = weights(trainer)
    pixels, labels = trainer.images[range(4)]
    with pytest.raises(TrainingDiverged, match=r"the loss is nan .* at step 3"):
        trainer.train_step(pixels * torch.nan, labels)
    assert torch.equal(weights(trainer), before)
    assert trainer.step == 2
    list(trainer.steps(3))


def test_what_does_not_fit_is_refused(make_trainer, images):
    with pytest.raises(ValueError, match="the model takes 3 channels, but the images have 1"):
        Trainer(UNet(UNetConfig.from_dict(TINY.to_dict() | {"in_channels": 3})), images, Schedule("cosine"))
    with pytest.raises(ValueError, match="the model has 2 classes, but the images have 3"):
        Trainer(UNet(replace(TINY, classes=2)), images, Schedule("cosine"))
    with pytest.raises(ValueError, match="the target flow needs a flow schedule"):
        make_trainer("cosine", target="flow")
    with pytest.raises(ValueError, match=r"no CUDA device is present|there are"):
        Trainer(UNet(TINY), images, Schedule("cosine"), TrainingConfig(), device="cuda:99")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        Trainer(UNet(TINY), images, Schedule("cosine"), TrainingConfig(), device="gpu")


def test_checkpoint_of_another_model_is_refused(make_trainer):
    other = make_trainer(model=replace(TINY, channels=16)).checkpoint()
    with pytest.raises(ValueError, match="the checkpoint does not fit the model"):
        make_trainer().restore(other)
    # Before the first step there are no moments to restore, after it they must be there.
    first = make_trainer().checkpoint()
    make_trainer().restore(first)
    with pytest.raises(ValueError, match="the checkpoint does not fit the model"):
        make_trainer().restore(replace(first, step=1))


def test_checkpoint_of_other_images_is_refused(make_trainer, images):
    trainer = make_trainer()
    list(trainer.steps(1))
    images.class_names = ("b", "a", "c")
    with pytest.raises(ValueError, match="of a run on 7 images, here there are"):
        make_trainer().restore(replace(trainer.checkpoint(), images=7))
    with pytest.raises(ValueError, match="the class_names of the checkpoint's images is"):
        make_trainer().restore(replace(trainer.checkpoint(), class_names=("a", "b", "c")))


def test_position_counts_images_and_keys_the_noise(make_trainer):
    trainer = make_trainer()
    used = []
    loss = trainer.loss
    trainer.loss = lambda pixels, labels, seeds: used.append(seeds) or loss(pixels, labels, seeds)
    list(trainer.steps(3))
    assert trainer.position == 12
    assert used == [mix_seed(0) + p for p in (0, 4, 8)]
