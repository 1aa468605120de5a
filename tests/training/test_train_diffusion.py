from __future__ import annotations

import os
import signal
import threading

import pytest
import torch
from training_models import TINY

from genfast import Schedule
from genfast.data import TensorImages
from genfast.training import TrainingDiverged, TrainingInterrupted, load_checkpoint, train_diffusion

QUICK = {"steps": 6, "batch_size": 4, "warmup": 2, "lr": 1e-3, "target": "epsilon"}


def run(images, out=None, **options):
    defaults = {"model": TINY, "schedule": "linear", "config": QUICK, "progress": False, "tensorboard": False}
    return train_diffusion(images, out, **(defaults | options))


def interrupt_at(step, number=signal.SIGINT):
    def callback(result):
        if result.step == step:
            os.kill(os.getpid(), number)

    return callback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_resumed_after_a_signal_has_the_bits_of_an_uninterrupted_one(images, tmp_path, number):
    whole = run(images, tmp_path / "whole")
    handler = signal.getsignal(number)
    with pytest.raises(TrainingInterrupted, match="interrupted after step 4, saved in") as stopped:
        run(images, tmp_path / "parts", callback=interrupt_at(4, number))
    assert (stopped.value.step, stopped.value.signal) == (4, number)
    assert signal.getsignal(number) is handler
    assert load_checkpoint(tmp_path / "parts").step == 4
    run(images, tmp_path / "parts", model=None, schedule=None, config=None, resume=True)
    expected, found = (load_checkpoint(tmp_path / name).tensors for name in ("whole", "parts"))
    assert set(found) == set(expected)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert whole.step == 6


def test_second_signal_interrupts_at_once(images, tmp_path):
    def twice(result):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path, callback=twice)
    assert list(tmp_path.iterdir()) == []


def test_signal_at_the_last_step_is_no_interruption(images, tmp_path):
    assert run(images, tmp_path, callback=interrupt_at(6)).step == 6
    assert load_checkpoint(tmp_path).step == 6


def test_trains_in_a_thread(images):
    done = []
    thread = threading.Thread(target=lambda: done.append(run(images).step))
    thread.start()
    thread.join()
    assert done == [6]


def test_more_steps_may_be_asked_for_but_nothing_else(images, tmp_path):
    run(images, tmp_path)
    assert run(images, tmp_path, resume=True, config={"steps": 8}).step == 8
    with pytest.raises(ValueError, match=r"config\.lr is 0\.001 in .*, a resumed run cannot take 0\.5"):
        run(images, tmp_path, resume=True, config={"lr": 0.5})
    with pytest.raises(ValueError, match=r"schedule\.kind is linear"):
        run(images, tmp_path, resume=True, schedule="cosine")
    with pytest.raises(ValueError, match=r"model\.channels is 8"):
        run(images, tmp_path, resume=True, model=TINY.from_dict(TINY.to_dict() | {"channels": 16}))


def test_existing_run_is_not_overwritten(images, tmp_path):
    run(images, tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint.safetensors exists: resume it, or choose another folder"):
        run(images, tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match="there is no checkpoint to resume in"):
        run(images, tmp_path / "other", resume=True)


def poisoned(images, first_bad_step):
    class Poisoned(TensorImages):
        calls = 0

        def __getitem__(self, indices):
            self.calls += 1
            pixels, labels = super().__getitem__(indices)
            return (pixels * torch.nan if self.calls >= first_bad_step else pixels), labels

    return Poisoned(images.pixels, images.labels, images.class_names)


def test_divergence_keeps_the_last_good_state(images, tmp_path):
    with pytest.raises(TrainingDiverged, match="the loss is nan"):
        run(poisoned(images, 5), tmp_path / "saved", save_every=3)
    assert load_checkpoint(tmp_path / "saved").step == 3
    with pytest.raises(TrainingDiverged, match="the loss is nan"):
        run(poisoned(images, 3), tmp_path / "unsaved")
    kept = load_checkpoint(tmp_path / "unsaved")
    assert kept.step == 2
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())


def test_logs_hold_losses_and_samples(images, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = []
    run(images, tmp_path, tensorboard=True, sample_every=3, callback=seen.append)
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([result.loss for result in seen])
    assert {"grad_norm", "lr"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Images("samples")] == [3, 6]


def test_progress_without_a_terminal_is_plain_lines(images, capfd):
    run(images, progress=True)
    output = capfd.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith("step 6/6, loss 0.")


def test_target_flow_and_flow_schedule_imply_each_other(images):
    steps = {"steps": 1, "batch_size": 4}
    for options in ({"schedule": "flow", "config": steps}, {"schedule": None, "config": {**steps, "target": "flow"}}):
        trainer = run(images, **options)
        assert trainer.schedule == Schedule("flow")
        assert trainer.config.target == "flow"


def test_readers_in_other_processes_give_the_same_run(images):
    alone, helped = run(images), run(images, workers=1)
    pairs = zip(alone.model.parameters(), helped.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_bad_arguments_are_refused(images):
    with pytest.raises(ValueError, match="save_every must be at least 1"):
        run(images, save_every=0)
    with pytest.raises(ValueError, match="unknown fields"):
        run(images, config={"epochs": 1})
    with pytest.raises(ValueError, match="unknown kind 'wavy'"):
        run(images, schedule="wavy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": torch.zeros(4, 1, 8, 8)}, "images must be of type Images or str, got Tensor"),
        ({"model": torch.nn.Identity()}, "model must be of type UNetConfig or None, got Identity"),
        ({"schedule": 1000}, "schedule must be of type Schedule or str or None, got int"),
        ({"config": [1]}, "config must be of type TrainingConfig or Mapping or None, got list"),
    ],
)
def test_other_kinds_of_arguments_are_refused_by_name(images, options, message):
    with pytest.raises(TypeError, match=f"train_diffusion: {message}"):
        run(**({"images": images} | options))


def test_resuming_with_fewer_steps_than_were_done_is_refused(images, tmp_path):
    run(images, tmp_path)
    with pytest.raises(ValueError, match="has 6 steps already, got steps 5"):
        run(images, tmp_path, model=None, schedule=None, config={"steps": 5}, resume=True)
