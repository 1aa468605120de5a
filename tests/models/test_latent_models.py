"""GANs and VAEs: shapes, twins, sampling, files and what they refuse."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn

from genfast import Stream, normal_noise
from genfast.models import GAN, VAE, GANConfig, VAEConfig
from genfast.nn import FusedModule

GANS = {kind: GANConfig.digits(kind) for kind in ("mlp_gan", "dcgan", "conditional_gan", "sequence_gan")}
GANS["deep"] = GANConfig(image_size=8, in_channels=1, latent=12, channels=8, depth=2)
GANS["group"] = GANConfig(image_size=16, latent=8, channels=8, norm="group")
VAES = {
    "mlp": VAEConfig.digits("mlp"),
    "conv": VAEConfig.digits("conv"),
    "mixture": VAEConfig(kind="mlp", image_size=8, in_channels=1, latent=4, hidden=(16,), components=5),
    "conditional_mlp": VAEConfig.digits("mlp", classes=10),
    "conditional_conv": VAEConfig.digits("conv", classes=10),
    "gaussian": VAEConfig(image_size=16, in_channels=3, latent=8, channels=8, norm="none"),
}
CONFIGS = {**{f"gan-{name}": c for name, c in GANS.items()}, **{f"vae-{name}": c for name, c in VAES.items()}}


def make(config, fused=True):
    """A model with weights and running statistics that are not those of its start."""
    torch.manual_seed(0)
    model = (GAN if isinstance(config, GANConfig) else VAE)(config, fused)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(0, 0.05)
            module.running_var.uniform_(0.005, 0.02)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.3)
    return model


def labels_for(config, n):
    return None if config.classes is None else torch.arange(n) % config.classes


def parts(model, n=3):
    """Every network of ``model`` with inputs of ``n`` samples."""
    config, labels = model.config, labels_for(model.config, n)
    z = model.latents(n, 5)
    x = torch.randn(n, *([config.frames] if z.dim() == 3 else []), *config.shape).tanh()
    if isinstance(model, GAN):
        return [(model.generator, z, labels), (model.discriminator, x, labels)]
    return [(model.encoder, x, labels), (model.decoder, z, labels)]


@pytest.fixture(params=list(CONFIGS), ids=str)
def config(request):
    return CONFIGS[request.param]


def test_shapes(config):
    model = make(config)
    n, shape = 3, config.shape
    if isinstance(model, VAE):
        mu, logvar = model.encode(torch.randn(n, *shape), labels_for(config, n))
        assert mu.shape == logvar.shape == (n, config.latent)
        assert model.decode(mu, labels_for(config, n)).shape == (n, *shape)
        assert model(torch.randn(n, *shape), labels_for(config, n)).shape == (n, *shape)
    else:
        frames = (config.frames,) if config.kind == "sequence_gan" else ()
        images = model.generator(model.latents(n, 0), labels_for(config, n))
        assert images.shape == (n, *frames, *shape)
        logits = model.discriminator(images, labels_for(config, n))
        assert logits.shape == ((n, config.frames - 1) if frames else (n,))


@pytest.mark.parametrize("size", [8, 12, 28, 32, 64, 128])
def test_trunks_of_any_size(size):
    with torch.device("meta"):
        model = GAN(GANConfig(image_size=size, channels=2, latent=4))
        images = model.generator(torch.empty(2, 4))
        assert images.shape == (2, 3, size, size)
        assert model.discriminator(images).shape == (2,)


def test_an_untrained_generator_of_linear_layers_tells_latents_apart():
    torch.manual_seed(0)
    model = GAN(GANConfig.digits("mlp_gan"))
    images = model.sample(500)
    # Of PyTorch's own initialisation it is 0.03.
    assert 0.3 < images.std(0).mean() < 0.8


def test_the_generator_of_64_pixels_is_that_of_the_paper():
    """Radford et al. 2016, figure 1: 4x4x1024, 8x8x512, 16x16x256, 32x32x128."""
    with torch.device("meta"):
        model = GAN(GANConfig(channels=128))
    found = [(m.in_channels, m.out_channels) for m in model.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert found == [(100, 1024), (1024, 512), (512, 256), (256, 128), (128, 3)]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_fused_networks_are_their_eager_twins(config, training):
    model = make(config).train(training)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    twin = type(model)(config, fused=False).train(training)
    twin.load_state_dict(model.state_dict())
    assert not any(m.fused for m in twin.modules() if isinstance(m, FusedModule))
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for (ours, x, labels), (theirs, _, _) in zip(parts(model), parts(twin), strict=True):
        outputs, gradients = [], []
        for network in (ours, theirs):
            leaf = x.clone().requires_grad_()
            out = network(leaf, labels)
            out = torch.cat(out, 1) if isinstance(out, tuple) else out
            outputs.append(out.detach())
            parameters = [p for p in network.parameters() if p.requires_grad]
            gradients.append(torch.autograd.grad(out.square().sum(), [leaf, *parameters]))
        torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)
        for a, b in zip(*gradients, strict=True):
            # Of a bias or convolution before a norm, the exact gradient may be zero.
            assert (a - b).norm() <= 1e-3 * b.norm() + 1e-4
    for (name, ours), theirs in zip(model.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_seeds_give_the_same_latents_in_any_batch(config):
    model = make(config)
    together = model.latents(6, 40)
    apart = torch.cat([model.latents(2, 40), model.latents(1, [42]), model.latents(3, torch.tensor([43, 44, 45]))])
    assert torch.equal(together, apart)
    if together.dim() == 2:
        assert torch.equal(together, normal_noise([6, config.latent], 40, stream=Stream.LATENT))
    labels = labels_for(config, 6)
    samples = model.sample(6, seeds=40, labels=labels)
    torch.testing.assert_close(model.sample(6, seeds=40, labels=labels, batch_size=4), samples, atol=1e-5, rtol=1e-4)
    assert samples.abs().max() <= 1 and samples.is_contiguous() and not samples.requires_grad
    assert samples.shape[-3:] == config.shape


def test_depth_adds_convolutions_to_the_generator_alone():
    def convolutions(network: nn.Module) -> int:
        return sum(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in network.modules())

    config = GANConfig(image_size=32, latent=16, channels=8)
    models = [GAN(replace(config, depth=depth)) for depth in (0, 1, 2)]
    # The size doubles three times.
    assert [convolutions(model.generator) - convolutions(models[0].generator) for model in models] == [0, 3, 6]
    assert len({convolutions(model.discriminator) for model in models}) == 1


def test_the_path_of_a_sequence_is_continuous_and_every_frame_normal():
    config = GANConfig(kind="sequence_gan", image_size=8, latent=50, channels=4, frames=5, step=0.1)
    z = make(config).latents(4000, 0)
    assert z.shape == (4000, 5, 50)
    for frame in z.unbind(1):
        assert abs(frame.mean()) < 0.01 and abs(frame.std() - 1) < 0.01
    steps = (z[:, 1:] - z[:, :-1]).norm(dim=2) / z[:, 1:].norm(dim=2)
    assert steps.max() < 0.25 and abs(steps.mean() - 0.1) < 0.01


def test_what_does_not_move_stays_along_a_sequence():
    config = GANConfig(kind="sequence_gan", image_size=8, latent=6, channels=4, frames=5)
    everything, some = (make(replace(config, moving=moving)).latents(200, 3) for moving in (None, 2))
    assert torch.equal(some[..., :2], everything[..., :2])
    assert torch.equal(some[..., 2:], everything[:, :1, 2:].expand(-1, 5, -1))
    assert abs(some[:, 0, 2:].std() - 1) < 0.1


def test_samples_are_those_of_the_network_in_evaluation_mode(config):
    model = make(config)
    model.train()
    labels = labels_for(config, 4)
    samples = model.sample(4, seeds=1, labels=labels)
    assert model.training and all(m.training for m in model.modules())
    twin = copy.deepcopy(model).eval()
    with torch.no_grad():
        decoder = twin.generator if isinstance(twin, GAN) else twin.decoder
        expected = twin.images(decoder(twin.latents(4, 1), labels))
    torch.testing.assert_close(samples, expected, atol=1e-4, rtol=1e-4)


def test_samples_follow_every_change_of_the_weights():
    model = make(GANS["dcgan"])
    weight = model.generator.layers[0].weight
    statistics = model.generator.layers[1].running_mean
    changes = [
        lambda: weight.detach().mul_(1.1),
        lambda: weight.data.mul_(1.1),
        lambda: weight.detach().numpy().__imul__(1.1),
        lambda: statistics.add_(0.1),
        lambda: model.generator.train()(torch.randn(4, model.config.latent)),
        lambda: setattr(model, "fused", False),
    ]
    for change in changes:
        before = model.sample(2)
        assert torch.equal(model.sample(2), before)
        change()
        after = model.sample(2)
        assert not torch.equal(after, before)
        with torch.no_grad():
            expected = copy.deepcopy(model.generator).eval()(model.latents(2))
        torch.testing.assert_close(after, expected, atol=1e-4, rtol=1e-4)


def test_what_is_loaded_is_what_was_saved(config, tmp_path):
    model = make(config)
    path = model.save(tmp_path / "model.safetensors")
    loaded = type(model).load(path)
    assert loaded.config == config and not loaded.training and loaded.fused
    assert not type(model).load(path, fused=False).fused
    for (name, a), (other, b) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)
    labels = labels_for(config, 3)
    samples = (m.sample(3, seeds=9, labels=labels) for m in (loaded, model))
    torch.testing.assert_close(*samples, atol=1e-5, rtol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.fixture
def saved(tmp_path):
    return make(GANS["dcgan"]).save(tmp_path / "gan.safetensors")


def test_a_checkpoint_of_another_model_is_refused(saved):
    with pytest.raises(ValueError, match=r"not a checkpoint of a genfast VAE: its format is genfast.gan"):
        VAE.load(saved)


def test_bad_files_are_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="no such checkpoint"):
        GAN.load(tmp_path / "none")
    with pytest.raises(ValueError, match="no such checkpoint"):
        GAN.load(tmp_path)
    data = saved.read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="corrupt, truncated, or not a checkpoint"):
        GAN.load(tmp_path / "half")
    (tmp_path / "bit").write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    with pytest.raises(ValueError, match="the checksum of its tensors is wrong"):
        GAN.load(tmp_path / "bit")
    safetensors.torch.save_file({"weight": torch.zeros(2)}, tmp_path / "plain")
    with pytest.raises(ValueError, match=r"a safetensors file, but not a checkpoint of a genfast GAN$"):
        GAN.load(tmp_path / "plain")
    tensors = safetensors.torch.load_file(saved)
    with safetensors.safe_open(saved, "pt") as file:
        metadata = file.metadata()
    state = json.loads(metadata["state"])
    for change, message in (({"channels": 32}, "the weights do not fit the model: size mismatch"),
                            ({"kind": "other"}, "kind must be one of mlp_gan, dcgan, conditional_gan, sequence_gan"),
                            ({"breadth": 3}, "unknown fields")):  # fmt: skip
        text = json.dumps({**state, "config": {**state["config"], **change}})
        safetensors.torch.save_file(tensors, tmp_path / "other", {**metadata, "state": text})
        with pytest.raises(ValueError, match=message):
            GAN.load(tmp_path / "other")


def test_config_round_trips_through_json(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert type(config).from_json(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (GANConfig, {"kind": "gan"}, "kind must be one of mlp_gan, dcgan, conditional_gan, sequence_gan, got 'gan'"),
        (GANConfig, {"norm": "layer"}, "norm must be one of batch, none, group"),
        (GANConfig, {"image_size": 30}, "image_size must be a multiple of 4 from 8 on, got 30"),
        (GANConfig, {"image_size": 4}, "image_size must be a multiple of 4 from 8 on, got 4"),
        (GANConfig, {"latent": 0}, "latent must be a positive int, got 0"),
        (GANConfig, {"hidden": ()}, "hidden must be one width or more"),
        (GANConfig, {"hidden": (4, -1)}, r"hidden\[1\] must be a positive int"),
        (GANConfig, {"dropout": 1.0}, r"dropout must be a number in \[0, 1\)"),
        (GANConfig, {"classes": 10}, "classes must be None for a dcgan, got 10"),
        (GANConfig, {"kind": "conditional_gan"}, "classes must be given for a conditional_gan, got None"),
        (GANConfig, {"depth": -1}, "depth must be an int of at least 0, got -1"),
        (GANConfig, {"frames": 1}, "frames must be an int of at least 2, got 1"),
        (GANConfig, {"step": float("nan")}, "step must be a number"),
        (GANConfig, {"moving": 0}, "moving must be a positive int, got 0"),
        (GANConfig, {"moving": 101}, "moving must be at most latent, which is 100, got 101"),
        (VAEConfig, {"kind": "vae"}, "kind must be one of mlp, conv"),
        (VAEConfig, {"likelihood": "laplace"}, "likelihood must be one of bernoulli, gaussian"),
        (VAEConfig, {"beta": -1.0}, "beta must be a number"),
        (VAEConfig, {"image_size": 10}, "image_size must be a multiple of 4"),
    ],
)
def test_bad_config_is_refused(kind, changes, message):
    with pytest.raises(ValueError, match=f"{kind.__name__}: {message}"):
        kind(**changes)


@pytest.mark.parametrize("name", ["gan-conditional_gan", "vae-conditional_conv"])
def test_labels_are_checked(name):
    model = make(CONFIGS[name])
    owner = type(model).__name__
    with pytest.raises(ValueError, match=rf"{owner}: labels must be given, int64 \[2\] in \[0, 9\], got None"):
        model.sample(2)
    with pytest.raises(ValueError, match=rf"{owner}: labels must be in \[0, 9\], got 3 to 10"):
        model.sample(2, labels=[3, 10])
    with pytest.raises(ValueError, match=rf"{owner}: labels must be int64 \[2\], got torch.int64 \[3\]"):
        model.sample(2, labels=[1, 2, 3])
    assert torch.equal(model.sample(2, labels=4), model.sample(2, labels=torch.tensor([4, 4])))
    for network, x, labels in parts(model):
        with pytest.raises(ValueError, match=rf"{type(network).__name__}: labels must be in \[0, 9\]"):
            network(x, labels - 1)
        with pytest.raises(ValueError, match=f"{type(network).__name__}: labels must be given"):
            network(x)
    plain = make(CONFIGS["gan-dcgan"])
    with pytest.raises(ValueError, match="GAN: labels were given, but the network has no classes"):
        plain.sample(2, labels=3)


def test_wrong_shapes_are_refused(config):
    model = make(config)
    for network, x, labels in parts(model):
        with pytest.raises(ValueError, match=f"{type(network).__name__}: .* must be .*, got"):
            network(x[..., :-1], labels)
    for n in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="n must be a positive int"):
            model.sample(n, labels=None)
    with pytest.raises(ValueError, match=rf"{type(model).__name__}: z must hold at least one latent, got \[0, "):
        model.images_of(model.latents(1)[:0])
    with pytest.raises(ValueError, match="seeds must hold 2 seeds"):
        model.sample(2, seeds=[1], labels=labels_for(config, 2))


def test_labels_change_the_images_and_the_logits():
    gan, vae = make(CONFIGS["gan-conditional_gan"]).eval(), make(CONFIGS["vae-conditional_conv"]).eval()
    for model in (gan, vae):
        images = model.sample(10, seeds=[7] * 10, labels=range(10))
        assert (images[0] - images[1:]).flatten(1).norm(dim=1).min() > 1e-3
    x, labels = torch.randn(1, 1, 8, 8).expand(10, -1, -1, -1), torch.arange(10)
    assert gan.discriminator(x, labels).unique().numel() == 10
    assert vae.encode(x, labels)[0].unique(dim=0).shape[0] == 10
