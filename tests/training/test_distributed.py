"""Two processes in the environment that torchrun gives them train the model that one process trains."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from latent_models import Poisoned, random_images, run_distributed, run_gan

from genfast.training import (
    GANCheckpoint,
    GANTrainer,
    TrainingDiverged,
    TrainingInterrupted,
    VAECheckpoint,
    load_checkpoint,
    runner,
)
from genfast.training.distributed import World

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    processes = []
    for rank in ("0", "1"):
        environment = os.environ | {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, str(HERE / "distributed_run.py"), str(out)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    run_distributed(str(out))
    return out


def test_the_same_seeds_give_the_same_latents(one, two):
    alone = torch.load(one / "latents0.pt")
    assert alone.shape == (6, 4, 8)
    together = torch.cat([torch.load(two / f"latents{rank}.pt") for rank in (0, 1)], dim=1)
    assert torch.equal(together, alone)


def test_the_weights_are_those_of_one_process(one, two):
    for name, kind in (("gan", GANCheckpoint), ("vae", VAECheckpoint)):
        expected, found = (load_checkpoint(out / name, kind) for out in (one, two))
        assert (found.step, found.position) == (expected.step, expected.position)
        for key, value in expected.part("model").items():
            torch.testing.assert_close(found.part("model")[key], value, rtol=1e-3, atol=1e-5, msg=key)


def test_running_statistics_are_those_of_all_processes(two):
    """Also those of the discriminator, which it has seen more images for since its own update."""
    first, second = (torch.load(two / f"statistics{rank}.pt") for rank in (0, 1))
    assert len(first) == 9
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_one_process_writes(two):
    assert sorted(path.name for path in (two / "gan").iterdir()) == ["checkpoint.safetensors", "samples"]
    assert [path.name for path in (two / "gan" / "samples").iterdir()] == ["samples_000003.png"]


def test_a_run_goes_on_with_another_number_of_processes(two):
    trainer = run_gan(random_images(), two / "gan", model=None, config={"steps": 5}, resume=True)
    assert (trainer.step, trainer.position) == (5, 40)


def test_ctrl_c_that_comes_twice_is_one(monkeypatch):
    """From the terminal, and from torchrun, which has it from there."""
    now = [0.0]
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with runner._signals(together=True) as received:
        for now[0] in (10.0, 11.0):
            os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT] * 2
        now[0] = 20.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with runner._signals(together=False) as received:
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_no_process_goes_on_before_the_first_has_saved(images, monkeypatch, tmp_path):
    """Or one that resumes the run at once finds nothing."""
    events = []
    monkeypatch.setattr(World, "wait", lambda *_: events.append("wait"))
    monkeypatch.setattr(GANTrainer, "save", lambda *_: events.append("save"))
    with pytest.raises(TrainingInterrupted):
        run_gan(images, tmp_path / "stopped", callback=lambda _: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(TrainingDiverged):
        run_gan(Poisoned(images, 1), tmp_path / "broken")
    assert events == ["save", "wait"] * 2


def test_a_batch_must_be_dealt_evenly(images):
    from latent_models import gan_config

    from genfast.models import GAN
    from genfast.training import GANTrainingConfig

    with pytest.raises(ValueError, match="batch_size must be a multiple of the 3 processes, got 4"):
        GANTrainer(GAN(gan_config()), images, GANTrainingConfig(batch_size=4), world=World(0, 3))
