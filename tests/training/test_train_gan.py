from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch
from latent_models import GAN_QUICK, Poisoned, differing, gan_config, run_gan

import genfast
from genfast import Stream, normal_noise
from genfast.data import TensorImages
from genfast.models import GAN
from genfast.random import mix_seed
from genfast.training import (
    GANCheckpoint,
    GANTrainer,
    GANTrainingConfig,
    TrainingDiverged,
    TrainingInterrupted,
    load_checkpoint,
    sample_latents,
)
from genfast.training.setup import initialised


def make(images, kind="dcgan", fused=True, model=None, **config):
    network = initialised(1, lambda: GAN(model or gan_config(kind), fused))
    return GANTrainer(network, images, GANTrainingConfig(**(GAN_QUICK | config)))


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in [*trainer.model.parameters(), *trainer.ema.model.parameters()]])


@pytest.mark.parametrize("kind", ["mlp_gan", "dcgan", "conditional_gan", "sequence_gan"])
def test_every_kind_trains_and_samples(images, tmp_path, kind):
    trainer = run_gan(images, tmp_path, model=gan_config(kind), sample_every=3)
    labels = [0, 1] if kind == "conditional_gan" else None
    expected = trainer.result.sample(2, seeds=[5, 9], labels=labels)
    assert expected.shape == ((2, 3, 1, 8, 8) if kind == "sequence_gan" else (2, 1, 8, 8))
    loaded = load_checkpoint(tmp_path)
    assert isinstance(loaded, GANCheckpoint)
    assert torch.equal(sample_latents(loaded.model(), seeds=[5, 9], labels=labels), expected)
    last = loaded.model(average=False).generator.state_dict()
    assert differing(last, trainer.model.generator.state_dict()) == []
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "samples_000003.png", "samples_000006.png",
    ]  # fmt: skip


@pytest.mark.parametrize("config", [{}, {"n_critic": 2, "loss": "wasserstein", "penalty": "wgan_gp", "crop": 1}])
def test_run_resumed_after_ctrl_c_has_the_bits_of_an_uninterrupted_one(images, tmp_path, config):
    """The discriminator of an mlp_gan has dropout."""
    options = {"model": gan_config("mlp_gan"), "config": GAN_QUICK | {"flips": True} | config}

    def interrupt(result):
        if result.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    run_gan(images, tmp_path / "whole", **options)
    with pytest.raises(TrainingInterrupted, match="interrupted after step 4, saved in"):
        run_gan(images, tmp_path / "parts", callback=interrupt, **options)
    run_gan(images, tmp_path / "parts", model=None, config=None, resume=True)
    expected, found = (load_checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert found.position == 24 * config.get("n_critic", 1)
    assert differing(expected.tensors, found.tensors) == []


def test_discriminator_takes_the_gradient_of_loss_and_penalty(images):
    """Against the losses as they are written in papers, on the latents that the counters give."""
    for every, factor in ((1, 1), (3, 3)):
        trainer = make(images, loss="hinge", penalty="r1+r2", penalty_weight=2.0, penalty_every=every)
        model, seeds = trainer.model, mix_seed(0)
        pixels, _ = images[range(4)]
        z = normal_noise([4, 8], seeds, stream=Stream.LATENT)
        fake = model.generator(z).detach()
        trainer._discriminator_loss(pixels, fake, None, seeds, 0)
        found = [p.grad.clone() for p in model.discriminator.parameters()]
        model.discriminator.zero_grad()
        d = model.discriminator
        loss = (1 - d(pixels)).relu().mean() + (1 + d(fake)).relu().mean()
        for x in (pixels.clone().requires_grad_(), fake.clone().requires_grad_()):
            (g,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
            loss = loss + factor * 2.0 * 0.5 * g.square().sum() / 4
        expected = torch.autograd.grad(loss, list(d.parameters()))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_logits_are_those_of_the_discriminators_last_update(images):
    trainer, seen = make(images, n_critic=2, penalty="r1"), []
    trainer.model.discriminator.register_forward_hook(lambda *call: seen.append(call[2].detach()))
    result = next(trainer.steps())
    # Of each update real and fake, and penalised ones, and then those of the generator's.
    assert [len(logits) for logits in seen] == [8, 4, 8, 4, 4]
    assert [result.real_logit, result.fake_logit] == pytest.approx([half.mean().item() for half in seen[2].chunk(2)])


def test_penalties_are_taken_every_so_many_updates(images):
    trainer = make(images, penalty="r1", penalty_every=4, n_critic=2)
    assert [result.penalty is not None for result in trainer.steps()] == [True, False, True, False, True, False]


def test_a_step_moves_each_network_along_its_own_gradient(images):
    """The generator's update leaves no gradient behind, nor does it move the discriminator."""
    still = make(images, lr_generator=0.0)
    before = weights(still).clone()
    list(still.steps(1))
    count = sum(p.numel() for p in still.model.generator.parameters())
    assert torch.equal(weights(still)[:count], before[:count])
    other = make(images, lr_discriminator=0.0)
    list(other.steps(1))
    for a, b in zip(other.model.discriminator.parameters(), make(images).model.discriminator.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.grad is None and a.requires_grad


def test_latents_are_a_function_of_the_seed_and_the_position(images):
    trainer = make(images, n_critic=2)
    used = []
    fake = trainer.fake
    trainer.fake = lambda count, labels, seeds: used.append((count, seeds)) or fake(count, labels, seeds)
    list(trainer.steps(2))
    assert used == [(4, mix_seed(0) + p) for p in (0, 4, 8, 12)]


@pytest.mark.parametrize("loss", ["minimax", "bce", "least_squares", "relativistic_average", "relativistic_paired"])
def test_eager_twin_takes_the_same_steps(images, loss):
    config = {"loss": loss, "penalty": "zero_gp", "label_smoothing": 0.1 if loss == "bce" else 0.0, "steps": 2}
    fused, plain = (make(images, fused=fused, **config) for fused in (True, False))
    for a, b in zip(fused.steps(), plain.steps(), strict=True):
        for name, value in a.scalars().items():
            assert value == pytest.approx(b.scalars()[name], rel=1e-3, abs=1e-4), name


def test_bfloat16_stays_near_float32(images):
    wide, narrow = (next(make(images, precision=p).steps()) for p in ("float32", "bfloat16"))
    assert narrow.discriminator_loss == pytest.approx(wide.discriminator_loss, rel=0.02)


@pytest.mark.parametrize("first", [1, 5])
def test_divergence_keeps_the_last_good_state(images, tmp_path, first):
    """Running statistics among it, and a run that ended in its first step can be resumed too."""
    model = gan_config(norm="batch")
    with pytest.raises(TrainingDiverged, match=f"the discriminator's loss is nan .* at step {first}"):
        run_gan(Poisoned(images, first), tmp_path / "parts", model=model)
    kept = load_checkpoint(tmp_path / "parts")
    assert kept.step == first - 1
    run_gan(images, tmp_path / "parts", model=None, config=None, resume=True)
    run_gan(images, tmp_path / "whole", model=model)
    expected, found = (load_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert differing(expected, found) == []


def test_a_generator_that_diverges_leaves_finite_numbers(images, tmp_path):
    """Its discriminator's update comes first in a step."""
    broken = make(images, model=gan_config(norm="batch"))
    broken._generator_loss = lambda real, fake, labels: fake.sum() * torch.inf
    before = weights(broken).clone()
    with pytest.raises(TrainingDiverged, match=r"the generator's loss is .* at step 1"):
        next(broken.steps())
    assert broken.step == broken.position == 0
    count = sum(p.numel() for p in broken.model.generator.parameters())
    assert torch.equal(weights(broken)[:count], before[:count])
    broken.save(tmp_path / "checkpoint.safetensors")
    kept = load_checkpoint(tmp_path)
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())
    whole = make(images, model=gan_config(norm="batch"))
    whole.restore(kept)
    assert [result.step for result in whole.steps(2)] == [1, 2]


def test_weights_that_are_not_trained_stay_so(images, tmp_path):
    """As of a discriminator that was trained on other images, whose first layers are to stay."""
    trainers = [make(images) for _ in range(2)]
    for trainer in trainers:
        trainer.model.discriminator.layers[0].requires_grad_(False)
    still = trainers[0].model.discriminator.layers[0].weight
    before = still.detach().clone()
    list(trainers[0].steps(2))
    assert not still.requires_grad and torch.equal(still, before)
    trainers[1].restore(load_checkpoint(trainers[0].save(tmp_path / "checkpoint.safetensors")))
    for trainer in trainers:
        list(trainer.steps(4))
    assert torch.equal(*(weights(trainer) for trainer in trainers))


def test_logs_hold_losses_logits_penalties_and_samples(images, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = []
    config = GAN_QUICK | {"penalty": "r1", "penalty_every": 2}
    run_gan(images, tmp_path, config=config, tensorboard=True, sample_every=6, callback=seen.append)
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"loss/generator", "logits/real_above_0", "logits/fake_below_0", "lr/discriminator"} <= scalars
    assert {"logits/real", "logits/fake"} <= scalars
    losses = [event.value for event in events.Scalars("loss/discriminator")]
    assert losses == pytest.approx([result.discriminator_loss for result in seen])
    assert [event.step for event in events.Scalars("penalty")] == [1, 3, 5]
    assert [event.step for event in events.Images("samples")] == [6]


def test_what_does_not_fit_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match="the model has 2 classes, but the images have 3"):
        make(images, model=gan_config("conditional_gan", classes=2))
    with pytest.raises(ValueError, match="the model has 3 classes, but the images have no labels"):
        make(TensorImages(images.pixels), "conditional_gan")
    with pytest.raises(ValueError, match="the model takes 3 channels, but the images have 1"):
        make(images, model=gan_config(in_channels=3))
    with pytest.raises(TypeError, match="train_gan: model must be of type GANConfig or str or None, got int"):
        run_gan(images, model=3)
    run_gan(images, tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ValueError, match="a checkpoint of a GAN, expected one of a diffusion model"):
        genfast.training.train_diffusion(images, tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"model\.kind is dcgan in .*, a resumed run cannot take mlp_gan"):
        run_gan(images, tmp_path, model="mlp_gan", resume=True)
    with pytest.raises(ValueError, match=r"config\.loss is non_saturating in .*, a resumed run cannot take hinge"):
        run_gan(images, tmp_path, config={"loss": "hinge"}, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    other = replace(load_checkpoint(tmp_path), model_config=gan_config(channels=8))
    with pytest.raises(ValueError, match="GANCheckpoint: the weights 'model' do not fit the model"):
        other.model()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss", "magic"), ("penalty", "r3"), ("penalty", "r1+"), ("penalty_every", 0), ("n_critic", 0), ("crop", -1),
        ("schedule", "step"), ("targets", (1, 2)), ("targets", (1, 0, 0)), ("label_smoothing", 0.1), ("betas", (1, 0)),
        ("lr_generator", -1.0), ("precision", "float16"),
    ],
)  # fmt: skip
def test_bad_value_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"GANTrainingConfig: {field} must be"):
        GANTrainingConfig(**{field: value})


def test_rates_follow_their_schedules():
    rates = {
        kind: GANTrainingConfig(steps=12, warmup=2, lr_generator=1.0, lr_discriminator=2.0, schedule=kind, final_lr=0.1)
        for kind in ("constant", "linear", "cosine")
    }
    for config in rates.values():
        assert config.rates_at(0) == (0.5, 1.0)
        assert config.rates_at(2) == (1.0, 2.0)
    assert [rates[kind].rates_at(7)[0] for kind in rates] == pytest.approx([1.0, 0.55, 0.55])
    assert [rates[kind].rates_at(12)[1] for kind in rates] == pytest.approx([2.0, 0.2, 0.2])


def test_convolutions_train_in_channels_last_and_go_on_with_the_same_bits(images, tmp_path):
    model = gan_config(norm="batch")
    whole, first, second = (make(images, model=model) for _ in range(3))
    layouts = [p.is_contiguous(memory_format=torch.channels_last) for p in whole.model.parameters() if p.dim() == 4]
    assert all(layouts)
    list(whole.steps(4))
    list(first.steps(2))
    second.restore(load_checkpoint(first.save(tmp_path / "checkpoint.safetensors")))
    list(second.steps(4))
    assert torch.equal(weights(whole), weights(second))
    plain = make(images, fused=False, model=model)
    assert all(p.is_contiguous() for p in plain.model.parameters())


@pytest.mark.parametrize(
    ("norm", "loss", "calls"), [("none", "hinge", 1), ("batch", "hinge", 2), ("none", "relativistic_paired", 2)]
)
def test_real_and_fake_images_share_a_batch_that_nothing_mixes(images, norm, loss, calls):
    trainer = make(images, model=gan_config(norm=norm), loss=loss, lr_generator=0.0)
    seen = []
    trainer.model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    list(trainer.steps(1))
    assert seen[:calls] == [8 // calls] * calls and seen[calls] == 4
