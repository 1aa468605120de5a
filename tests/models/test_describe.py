from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from genfast.models import GAN, VAE, GANConfig, VAEConfig, describe, parameter_count

ROOT = Path(__file__).parents[2]


def test_parameters_and_flops_of_an_mlp_are_those_of_its_matrices():
    config = VAEConfig(kind="mlp", image_size=28, in_channels=1, latent=20)
    encoder, decoder = describe(config)
    weights = 784 * 400 + 400 * 40
    assert (encoder.parameters, encoder.flops) == (weights + 400 + 40, 2 * weights)
    weights = 20 * 400 + 400 * 784
    assert (decoder.parameters, decoder.flops) == (weights + 400 + 784, 2 * weights)


def test_flops_of_convolutions_are_counted_per_pixel():
    generator, discriminator = describe(GANConfig(image_size=8, in_channels=1, latent=10, channels=4))
    assert generator.flops == 2 * (10 * 8 * 4 + 4 * 8 * 4 * 16 + 16 * 4 * 1 * 16)
    assert discriminator.flops == 2 * (16 * 1 * 4 * 16 + 4 * 4 * 8 * 16 + 32)


@pytest.mark.parametrize("config", [GANConfig.digits("sequence_gan"), VAEConfig.digits(classes=10)], ids=repr)
def test_parts_are_the_whole(config):
    model = (GAN if isinstance(config, GANConfig) else VAE)(config)
    assert sum(part.parameters for part in describe(config)) == parameter_count(model)


def test_the_table_of_the_document_is_of_today():
    spec = importlib.util.spec_from_file_location("models_table", ROOT / "scripts" / "models.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.DOCUMENT.read_text()
    assert script.written(text) == text, "run python scripts/models.py"
