from __future__ import annotations

import errno
import json
import os

import pytest
import safetensors.torch
import torch

from genfast.models import GAN, GANConfig
from genfast.training import load_checkpoint, save_checkpoint


@pytest.fixture
def trainer(make_trainer):
    trainer = make_trainer()
    list(trainer.steps(2))
    return trainer


@pytest.fixture
def saved(trainer, tmp_path):
    return trainer.save(tmp_path / "checkpoint.safetensors")


def test_what_is_loaded_is_what_was_saved(trainer, saved):
    loaded = load_checkpoint(saved.parent)
    original = trainer.checkpoint()
    for name in ("model_config", "schedule", "training", "step", "position", "updates", "shape", "class_names", "data"):
        assert getattr(loaded, name) == getattr(original, name), name
    assert set(loaded.tensors) == set(original.tensors)
    for name, tensor in original.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor), name


def test_model_gives_the_averaged_or_the_last_weights(trainer, saved):
    loaded = load_checkpoint(saved)
    for average, model in ((True, trainer.ema.model), (False, trainer.model)):
        built = loaded.model(average=average)
        assert not built.training
        assert all(torch.equal(a, b) for a, b in zip(built.parameters(), model.parameters(), strict=True))
    assert loaded.label_names == ("a", "b", "c")
    assert loaded.sampler("ddim").prediction == "v"


def test_file_has_the_permissions_of_the_umask(trainer, tmp_path):
    before = os.umask(0o027)
    try:
        path = trainer.save(tmp_path / "checkpoint.safetensors")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("keep", [0, 7, 100, 5000, -1])
def test_truncated_file_is_refused(saved, keep):
    data = saved.read_bytes()
    saved.write_bytes(data[:keep])
    with pytest.raises(ValueError, match="corrupt, truncated, or not a checkpoint"):
        load_checkpoint(saved)


def test_a_flipped_bit_is_found(saved):
    data = bytearray(saved.read_bytes())
    data[-1000] ^= 1
    saved.write_bytes(data)
    with pytest.raises(ValueError, match="the checksum of its tensors is wrong"):
        load_checkpoint(saved)


def rewrite(path, change):
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    change(metadata)
    safetensors.torch.save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format="other"), "a safetensors file, but not a checkpoint of a genfast"),
        (lambda m: m.update(version="2"), "format version 2, this genfast reads version 1"),
        (lambda m: m.update(state="{"), "corrupt checkpoint"),
        (lambda m: m.update(state=json.dumps({"model": {}})), "corrupt checkpoint: KeyError"),
    ],
)
def test_foreign_metadata_is_refused(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(saved)


@pytest.mark.parametrize("data", [b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, b"PK\x03\x04" + b"\1" * 500])
def test_foreign_file_is_refused(tmp_path, data):
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{path}: corrupt, truncated, or not a checkpoint"):
        load_checkpoint(path)


def test_plain_safetensors_is_refused(tmp_path):
    safetensors.torch.save_file({"weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="a safetensors file, but not a checkpoint"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_model_without_its_run_is_refused(tmp_path):
    path = GAN(GANConfig.digits("mlp_gan")).save(tmp_path / "gan.safetensors")
    with pytest.raises(ValueError, match=r"of a genfast training run: its format is genfast.gan, not genfast.diff"):
        load_checkpoint(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such checkpoint"):
        load_checkpoint(tmp_path)


def test_full_disk_leaves_the_old_checkpoint(trainer, saved, monkeypatch):
    before = saved.read_bytes()

    def write_half(tensors, path, metadata):
        with open(path, "wb") as file:
            file.write(before[: len(before) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safetensors.torch, "save_file", write_half)
    list(trainer.steps(4))
    with pytest.raises(OSError, match="No space left on device"):
        trainer.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_errors_of_the_writer_are_oserrors(trainer, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match=r"cannot write .*checkpoint.safetensors: I/O error: No space left"):
        save_checkpoint(tmp_path, trainer.checkpoint())
    assert list(tmp_path.iterdir()) == []
