from __future__ import annotations

from typing import Any

import pytest
import torch
from latent_models import random_images
from training_models import TINY

from genfast.models import UNet, UNetConfig
from genfast.schedules import Schedule
from genfast.training import Trainer, TrainingConfig


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny networks lose time to a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images():
    return random_images()


@pytest.fixture
def make_trainer(images):
    """A trainer with random weights everywhere, so that no branch starts silent."""

    def make(schedule: str = "cosine", model: UNetConfig = TINY, **config: Any) -> Trainer:
        torch.manual_seed(1)
        network = UNet(model)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        defaults: dict[str, Any] = {"steps": 6, "batch_size": 4, "warmup": 2, "lr": 1e-3}
        return Trainer(network, images, Schedule(schedule), TrainingConfig(**(defaults | config)))

    return make
