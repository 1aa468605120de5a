"""Whole training steps of GANs and VAEs beside those of their twins in plain PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from genfast import Stream, normal_noise
from genfast.bench.case import Case, Contender, Inputs
from genfast.data import Images
from genfast.data.images import Batch
from genfast.models import GAN, VAE, GANConfig, VAEConfig, describe
from genfast.training import GANTrainer, GANTrainingConfig, VAETrainer, VAETrainingConfig, recipes

_SLACK = 4.0
_IMAGES = 1024
DIGITS = (64, 1, 8, 8)
LARGE = (16, 3, 64, 64)


@dataclass(frozen=True)
class _Setting:
    """A model, how it is trained, and the shape of a batch."""

    model: GANConfig | VAEConfig
    training: GANTrainingConfig | VAETrainingConfig
    shape: tuple[int, ...]


def _settings() -> dict[str, _Setting]:
    """By name: those for the digits as their recipes are, and the network of Radford et al. 2016 for 64 pixels.

    Of a recipe with a penalty there are two: its usual step, and as ``name_r1`` or so the one with its penalty.
    """
    found = {**recipes.gan_digits(), **recipes.vae_digits()}
    settings = {}
    for name in ("mlp_gan", "dcgan", "least_squares", "vae_mlp", "vae_conv"):
        model, training = found[name].model, found[name].training
        if isinstance(training, GANTrainingConfig) and training.penalty is not None:
            settings[f"{name}_{training.penalty}"] = _Setting(model, training, DIGITS)
            training = replace(training, penalty=None)
        settings[name] = _Setting(model, training, DIGITS)
    settings["dcgan_64"] = _Setting(GANConfig(), GANTrainingConfig(), LARGE)
    return settings


class _Unread(Images):
    """Images that are never read: steps take theirs from the case."""

    def __init__(self, shape: Sequence[int]) -> None:
        channels, height, width = shape
        self.shape = channels, height, width

    def __len__(self) -> int:
        return _IMAGES

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        raise AssertionError("these images are never read")


def _model(setting: _Setting, fused: bool) -> GAN | VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GAN(setting.model, fused) if isinstance(setting.model, GANConfig) else VAE(setting.model, fused)


def _networks(model: GAN | VAE) -> tuple[torch.nn.Module, ...]:
    """Those whose outputs are compared. Dropout draws differently in each twin, so what is behind it is left out."""
    if isinstance(model, VAE):
        return model.encoder, model.decoder
    return (model.generator,) if model.config.kind == "mlp_gan" else (model.generator, model.discriminator)


def _step(setting: _Setting, device: torch.device, fused: bool, last: bool = False) -> Callable[..., Any]:
    """A function of a batch that does one whole step, and returns what the networks gave in it.

    The learning rate is zero, so that every step is the first: its arithmetic is that of any other.
    """
    model: Any = _model(setting, fused).to(device)
    if last:
        model = model.to(memory_format=torch.channels_last)
    images = _Unread(setting.model.shape)
    trainer: Any
    if isinstance(setting.training, GANTrainingConfig):
        still: Any = replace(setting.training, lr_generator=0.0, lr_discriminator=0.0, batch_size=setting.shape[0])
        trainer = GANTrainer(model, images, still, device=device)
    else:
        still = replace(setting.training, lr=0.0, batch_size=setting.shape[0])
        trainer = VAETrainer(model, images, still, device=device)
    outputs: dict[int, Tensor] = {}

    def keep(network: torch.nn.Module, _: Any, output: Any) -> None:
        outputs[id(network)] = output[0] if isinstance(output, tuple) else output

    networks = _networks(trainer.model)
    for network in networks:
        network.register_forward_hook(keep)

    def call(pixels: Tensor) -> tuple[Tensor, ...]:
        trainer.step = trainer.position = 0
        with torch.enable_grad():
            trainer.train_step(pixels)
        return tuple(outputs[id(network)].detach() for network in networks)

    return call


def training_case(name: str, setting: _Setting, device: torch.device) -> Case:
    """A training step on a batch, optimizer and average of the weights included."""

    def make(generator: torch.Generator, device: torch.device) -> Inputs:
        return (torch.randn(setting.shape, generator=generator).tanh().to(device),)

    def truth(inputs: Inputs, noise: Tensor | None) -> tuple[Tensor, ...]:
        """The last forward passes of a step in float64. Without a learning rate they are those of the first."""
        twin = copy.deepcopy(_model(setting, False)).to(device).double().train()
        training = setting.training
        seeds = _first_seed(setting, device)
        count = setting.shape[0]
        if isinstance(twin, VAE):
            with torch.no_grad():
                mu, logvar = twin.encode(inputs[0].double())
                drawn = normal_noise(mu.shape, seeds, stream=Stream.LATENT, device=device)
                return mu, twin.decode(mu + (0.5 * logvar).exp() * drawn)
        assert isinstance(training, GANTrainingConfig)
        with torch.no_grad():
            images = twin.generator(twin.latents(count, seeds))
            return tuple([images, twin.discriminator(images)][: len(_networks(twin))])

    def last(x: Tensor) -> Inputs:
        return (x.contiguous(memory_format=torch.channels_last),)

    baselines = [Contender("eager", lambda: _step(setting, device, False))]
    if setting.model.kind not in ("mlp_gan", "mlp"):
        baselines.append(Contender("eager_best", lambda: _step(setting, device, False, True), last))
    state: list[Callable[..., Any]] = []

    def call(pixels: Tensor) -> Any:
        if not state:
            state.append(_step(setting, device, True))
        return state[0](pixels)

    return Case(
        op="training", variant=name, shape=setting.shape, mode="forward_backward", make=make, call=call, truth=truth,
        baselines=tuple(baselines), bytes=0, flops=_flops(setting), slack=_SLACK, shares=True,
    )  # fmt: skip


def _first_seed(setting: _Setting, device: torch.device) -> Any:
    """The seeds of a run's first batch."""
    images = _Unread(setting.model.shape)
    kind: Any = GANTrainer if isinstance(setting.model, GANConfig) else VAETrainer
    return kind(_model(setting, False), images, setting.training, device=device)._seeds(setting.shape[0])


def _flops(setting: _Setting) -> int:
    """Of a step without penalties. A gradient by the input and one by the weights take as much as the forward pass."""
    count, (first, second) = setting.shape[0], (part.flops for part in describe(setting.model))
    # The discriminator sees real and fake images with all gradients, and then new ones with that of the input.
    return count * (3 * first + (8 if isinstance(setting.model, GANConfig) else 3) * second)


def cases(device: torch.device, quick: bool = False) -> Iterator[Case]:
    for name, setting in _settings().items():
        if not quick or name in ("mlp_gan", "vae_mlp"):
            yield training_case(name, setting, device)
