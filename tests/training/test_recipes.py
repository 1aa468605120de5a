from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from genfast.data import TensorImages, digits
from genfast.models import GANConfig, UNet
from genfast.training import recipes, train_gan, train_vae


@pytest.mark.parametrize(
    ("shape", "classes"), [((1, 8, 8), 10), ((1, 28, 28), 47), ((3, 32, 32), None), ((3, 64, 64), 2)]
)
def test_every_kind_of_images_gets_a_network_that_takes_them(shape, classes):
    labels = None if classes is None else torch.zeros(1, dtype=torch.int64)
    images = TensorImages(torch.zeros(1, *shape), labels, None if classes is None else [str(c) for c in range(classes)])
    recipe = recipes.for_images(images, seed=3)
    assert recipe.training.seed == 3
    with torch.device("meta"):
        model = UNet(recipe.model)
        assert model(torch.empty(2, *shape), torch.empty(2)).shape == (2, *shape)
    assert model.config.classes == classes


def test_images_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match="images must be square, got 8x6"):
        recipes.for_images(TensorImages(torch.zeros(1, 1, 8, 6)))


@pytest.mark.parametrize("name", [*recipes.gan_digits(), *recipes.vae_digits()])
def test_recipes_of_latent_models_train(name):
    gans = recipes.gan_digits(seed=3)
    recipe = (gans | recipes.vae_digits(seed=3))[name]
    assert recipe.training.seed == 3
    train = train_gan if name in gans else train_vae
    short = replace(recipe.training, steps=1, batch_size=8)
    assert train("digits", model=recipe.model, config=short, progress=False).step == 1


def test_a_penalty_takes_batch_norm_away():
    images = digits()
    for size in (8, 16):
        for penalty in (False, True):
            recipe = recipes.gan_for_images(images.resized(size), penalty=penalty)
            assert (recipe.model.norm != "batch") == penalty


def test_a_recipes_penalty_makes_way():
    """For one that is asked for, which then has the weight of any, and for a network whose batch norm mixes images."""
    images = digits()
    assert recipes.gan_for_images(images, "sequence_gan").training.penalty == "r1"
    for kind, asked in (("mlp_gan", {"penalty": True}), ("sequence_gan", {"norm": "batch"})):
        training = recipes.gan_for_images(images, kind, **asked).training
        assert (training.penalty, training.penalty_weight, training.penalty_every) == (None, 10.0, 1)
    short = {"steps": 1, "batch_size": 8}
    assert train_gan(images, model=GANConfig.digits("sequence_gan"), config=short, progress=False).step == 1


def test_a_conditional_gan_needs_labels():
    with pytest.raises(ValueError, match="a conditional_gan needs images with labels"):
        recipes.gan_for_images(TensorImages(torch.zeros(4, 3, 16, 16)), "conditional_gan")
