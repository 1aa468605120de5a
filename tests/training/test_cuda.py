"""Training on a GPU: the same noise, and what the CPU began."""

from __future__ import annotations

import copy

import pytest
import torch

from genfast.training import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present"),
]


def on_gpu(trainer):
    model = copy.deepcopy(trainer.model).to(memory_format=torch.contiguous_format)
    return Trainer(model, trainer.images, trainer.schedule, trainer.config, device="cuda")


def test_loss_is_that_of_the_cpu(make_trainer, images):
    trainer = make_trainer(flips=True)
    trainer.model.eval()
    other = on_gpu(trainer)
    other.model.eval()
    pixels, labels = images[range(16)]
    expected = trainer.loss(pixels, labels, 5)
    found = other.loss(pixels.cuda(), labels.cuda(), 5)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=0)


def test_run_begun_on_the_cpu_goes_on(make_trainer, tmp_path):
    trainer = make_trainer()
    list(trainer.steps(3))
    other = on_gpu(make_trainer())
    other.restore(trainer.checkpoint())
    results = list(other.steps())
    assert [result.step for result in results] == [4, 5, 6]
    trainer.restore(other.checkpoint())
    assert trainer.position == 24


def test_bfloat16_trains(make_trainer):
    results = list(on_gpu(make_trainer(precision="bfloat16")).steps())
    assert len(results) == 6
