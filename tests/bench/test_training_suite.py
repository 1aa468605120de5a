import torch
from torch import nn

from genfast.bench.suites import training
from genfast.models import GANConfig


def test_a_step_is_the_first_every_time_and_changes_no_weight():
    setting = training._settings()["least_squares"]
    call = training._step(setting, torch.device("cpu"), fused=True)
    x = torch.randn(setting.shape).tanh()
    first, second = call(x), call(x)
    assert len(first) == 2 and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_step_of_each_twin_gives_what_float64_gives():
    for name in ("mlp_gan", "mlp_gan_r1", "vae_mlp"):
        setting = training._settings()[name]
        case = training.training_case(name, setting, torch.device("cpu"))
        inputs = case.make(torch.Generator().manual_seed(0), torch.device("cpu"))
        truth = case.truth(inputs, None)
        for found in (case.call(*inputs), case.eager.build()(*inputs)):
            for ours, theirs in zip(found, truth, strict=True):
                torch.testing.assert_close(ours, theirs.float(), atol=1e-4, rtol=1e-4)


def test_a_step_counts_every_pass():
    """Two passes forward through the discriminator with all gradients, one with that of its input."""
    config = GANConfig(kind="mlp_gan", image_size=8, in_channels=1, latent=4, hidden=(16,))
    setting = training._Setting(config, training.GANTrainingConfig(), (5, 1, 8, 8))
    generator = sum(m.weight.numel() for m in training._model(setting, False).generator.modules() if _is_linear(m))
    critic = sum(m.weight.numel() for m in training._model(setting, False).discriminator.modules() if _is_linear(m))
    assert training._flops(setting) == 5 * 2 * (3 * generator + 8 * critic)


def _is_linear(module):
    return isinstance(module, nn.Linear)
