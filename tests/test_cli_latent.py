"""GANs and VAEs on the command line."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from genfast.data import digits
from genfast.models import GAN, VAE, GANConfig, VAEConfig
from genfast.training import GANTrainer, GANTrainingConfig, VAETrainer, VAETrainingConfig, load_checkpoint
from genfast.training.setup import initialised

SMALL = {"image_size": 8, "in_channels": 1, "latent": 8, "channels": 4, "hidden": [16]}


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    config = GANConfig(**SMALL, kind="conditional_gan", classes=10)
    trainer = GANTrainer(initialised(0, lambda: GAN(config)), digits(), GANTrainingConfig(steps=1, batch_size=4))
    list(trainer.steps())
    return trainer.save(tmp_path_factory.mktemp("gan") / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    config = VAETrainingConfig(steps=1, batch_size=4)
    trainer = VAETrainer(initialised(0, lambda: VAE(VAEConfig(**SMALL, kind="mlp"))), digits(), config)
    list(trainer.steps())
    return trainer.save(tmp_path_factory.mktemp("vae") / "checkpoint.safetensors")


def train(call, kind, out, *more):
    return call(
        "train", kind, "--data", "digits", "--out", out, "--batch-size", 4, "--steps", 3, "--no-tensorboard", *more
    )


def test_gan_trains_then_resumes_then_samples(call, tmp_path):
    out, picture = tmp_path / "run", tmp_path / "grid.png"
    options = ("--model", "dcgan", "--loss", "hinge", "--penalty", "r1", "--sample-every", 3)
    assert train(call, "gan", out, *options)[0] == 0
    saved = load_checkpoint(out)
    assert (saved.model_config.kind, saved.training.loss, saved.training.penalty) == ("dcgan", "hinge", "r1")
    assert (out / "samples" / "samples_000003.png").exists()
    code, output, _ = train(call, "gan", out, "--resume", "--steps", 4)
    assert (code, output) == (0, f"trained 4 steps, saved in {out}\n")
    code, output, _ = call("sample", out, "--seeds", "0:6", "--out", picture, "--columns", 3, "--scale", 1)
    assert code == 0
    assert output.startswith(f"wrote {picture}: 6 images, ")
    with Image.open(picture) as image:
        assert image.size == (3 * 9 - 1, 2 * 9 - 1)


def test_a_recipes_penalty_can_be_left_out(call, tmp_path):
    for name, more in (("with", ()), ("without", ("--penalty", "none"))):
        assert train(call, "gan", tmp_path / name, "--model", "mlp_gan", *more)[0] == 0
    found = [load_checkpoint(tmp_path / name).training.penalty for name in ("with", "without")]
    assert found == ["r1", None]


def test_sequences_are_rows_of_a_picture_or_move(call, tmp_path):
    config = GANConfig(**SMALL, kind="sequence_gan", frames=5)
    trainer = GANTrainer(initialised(0, lambda: GAN(config)), digits(), GANTrainingConfig(steps=1, batch_size=4))
    list(trainer.steps())
    checkpoint = trainer.save(tmp_path / "checkpoint.safetensors")
    for name, size, frames in (("rows.png", (5 * 9 - 1, 3 * 9 - 1), 1), ("moving.gif", (2 * 9 - 1, 2 * 9 - 1), 5)):
        code, output, _ = call("sample", checkpoint, "--seeds", "0:3", "--out", tmp_path / name, "--scale", 1)
        assert code == 0
        assert output.startswith(f"wrote {tmp_path / name}: 3 sequences of 5 images, ")
        with Image.open(tmp_path / name) as image:
            assert (image.size, getattr(image, "n_frames", 1)) == (size, frames)


def test_vae_trains_from_a_file_and_samples(call, tmp_path):
    network = tmp_path / "network.json"
    network.write_text(json.dumps(SMALL | {"kind": "mlp", "classes": 10, "likelihood": "bernoulli"}))
    assert train(call, "vae", tmp_path / "run", "--model", network, "--beta", 0.5)[0] == 0
    arguments = ("--seeds", "7", "--labels", "3", "--out", tmp_path / "grid.png")
    assert call("sample", tmp_path / "run", *arguments)[0] == 0


def test_a_seed_and_a_label_give_the_same_picture_in_any_batch(call, gan, tmp_path):
    pictures = []
    for batch_size in (64, 1):
        path = tmp_path / f"{batch_size}.png"
        arguments = ("--seeds", "0:3", "--labels", "2,5", "--out", path, "--batch-size", batch_size)
        assert call("sample", gan, *arguments)[0] == 0
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (
            "gan",
            ("--steps", 3, "--guidance", 2),
            "--steps, --guidance: for diffusion models; the",
        ),
        ("gan", ("--sampler", "ddim"), "--sampler: for diffusion models"),
        ("gan", ("--no-clip",), "--clip: for diffusion models"),
        ("gan", ("--labels", "10"), "labels must be in [0, 9], got 10 to 10"),
        ("gan", ("--labels", "none"), "labels: the GAN needs a class for every image, got none"),
        ("vae", ("--labels", "1"), "labels: the model has no classes, got '1'"),
        ("vae", ("--spacing", "trailing"), "--spacing: for diffusion models; the checkpoint is of a VAE"),
    ],
)
def test_bad_sampling_arguments_are_usage_errors(call, gan, vae, tmp_path, kind, arguments, message):
    picture = tmp_path / "grid.png"
    code, output, errors = call("sample", {"gan": gan, "vae": vae}[kind], "--out", picture, *arguments)
    assert (code, output) == (2, "")
    assert message in errors and errors.count("\n") == 1
    assert not picture.exists()


@pytest.mark.parametrize(
    ("kind", "arguments", "code", "message"),
    [
        ("gan", ("--loss", "magic"), 2, "loss must be one of minimax, non_saturating"),
        ("gan", ("--penalty", "r9"), 2, "penalty must be None or of wgan_gp, one_sided, r1, r2, zero_gp"),
        ("gan", ("--model", "resnet"), 2, "--model must be one of mlp_gan, dcgan, conditional_gan, sequence_gan"),
        ("gan", ("--lr-generator", "nan"), 2, "lr_generator must be a number"),
        ("gan", ("--resume",), 1, "there is no checkpoint to resume"),
        ("vae", ("--reconstruction", "mse"), 1, "the reconstruction mse does not fit a bernoulli likelihood"),
        ("vae", ("--validation", "2"), 2, "validation must be a number in [0, 1.0]"),
        ("vae", ("--lr", "1e30"), 1, "the loss is"),
    ],
)
def test_bad_training_arguments_are_one_line(call, tmp_path, kind, arguments, code, message):
    out = tmp_path / "run"
    found = train(call, kind, out, *arguments)
    assert found[:2] == (code, "")
    assert message in found[2]
    assert code == 1 or not out.exists()


def test_a_run_of_another_kind_is_not_resumed(call, gan):
    before = gan.read_bytes()
    code, _, errors = train(call, "vae", gan.parent, "--resume")
    assert (code, errors) == (1, f"genfast: {gan}: a checkpoint of a GAN, expected one of a VAE\n")
    assert train(call, "diffusion", gan.parent)[2].endswith("exists: resume it, or choose another folder\n")
    assert gan.read_bytes() == before
