"""The demo proves that it worked, and says so where it did not."""

import functools
import json
import time

import pytest
import torch

from genfast import training
from genfast.bench import Settings
from genfast.demo import __main__ as command
from genfast.demo import gallery, speed
from genfast.report import threads
from genfast.schedules import Schedule
from genfast.training import Recognition

PICTURES = {"samples.png", "trajectory.png"}


def test_the_digits_of_an_untrained_network_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "LABELS", list(range(10)))
    monkeypatch.setattr(command, "SHOWN", list(range(10)))
    quick = functools.partial(training.train_classifier, epochs=5)
    monkeypatch.setattr(training, "train_classifier", quick)
    monkeypatch.setattr(gallery, "LEAST_REAL", 0.1)
    monkeypatch.setattr(gallery, "MORE_STEPS", {})
    monkeypatch.setattr(gallery, "STEPS", 5)
    assert (
        command.main(["--out", str(tmp_path / "out"), "--training-steps", "1", "--seconds", "0.1", "--no-speed"]) == 1
    )
    written = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert set(written) == PICTURES | {"checkpoint.safetensors"}
    assert all(size > 5000 for size in written.values())
    output = capsys.readouterr().out
    for name in gallery.names():
        assert f"FAILED {name}: " in output
    assert "a GAN" in output and "a VAE" in output


def test_small_work_is_done_on_as_many_threads_as_suit_it():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with threads.quickest(lambda: time.sleep(0.05 if torch.get_num_threads() > 1 else 0.0)) as chosen:
            assert chosen == torch.get_num_threads() == 1
        with threads.quickest(lambda: time.sleep(0.05 if torch.get_num_threads() == 1 else 0.0)) as chosen:
            assert chosen == torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert command.main(["--out", str(tmp_path / "file" / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def row(name, share):
    return gallery.Row(name, 20, torch.zeros(2, 1, 8, 8), Recognition(share, (0,) * 10, 1.0), 1.0)


def test_a_sampler_must_reach_its_part_of_the_real_share():
    real = Recognition(0.9, (0,) * 10, 1.0)
    found = gallery.failures([row("good", 0.77), row("bad", 0.76)], real)
    assert len(found) == 1
    assert found[0].startswith("bad: 76.0%")
    blind = Recognition(0.1, (0,) * 10, 0.5)
    assert "the classifier" in gallery.failures([row("good", 0.9)], blind)[0]
    header, lines = gallery.table([row("good", 0.9)], real)
    assert dict(zip(header, lines[1], strict=True))["of the real share"] == "1.00"


class GaussianV(torch.nn.Module):
    """The exact v for images that are normal with standard deviation 0.5."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, t):
        alpha, sigma = (level.reshape(-1, 1, 1, 1) for level in self.schedule.alpha_sigma(t))
        x0 = alpha * 0.25 * x / (alpha**2 * 0.25 + sigma**2)
        return alpha * (x - alpha * x0) / sigma - sigma * x0


@pytest.mark.parametrize("t", [50.0, 500.0, 990.0])
def test_a_network_for_v_is_one_for_flow(t):
    schedule, flow = Schedule("cosine"), Schedule("flow")
    x, s = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1)), t / 1000
    x0 = (1 - s) * 0.25 * x / ((1 - s) ** 2 * 0.25 + s**2)
    velocity = (x - (1 - s) * x0) / s - x0
    found = gallery.AsFlow(GaussianV(schedule), schedule, flow)(x, torch.full((2,), t))
    torch.testing.assert_close(found, velocity, rtol=2e-3, atol=2e-3)


def test_the_speed_of_a_step_is_written(tmp_path):
    cases = [case for case in speed.cases() if case.variant == "ddpm"][:2]
    records = speed.measure(cases, lambda label: None, Settings(rounds=2, seconds=1e-4, compiled=False))
    assert speed.failures(records) == []
    header, (line, _) = speed.table(records)
    cells = dict(zip(header, line, strict=True))
    assert cells["step"] == "ddpm"
    assert cells["eager PyTorch"].endswith(" us)")
    assert cells["torch.compile"] == "unavailable"
    speed.write(records, tmp_path)
    assert len(json.loads((tmp_path / "step_speed.json").read_text())) == len(records)
    assert cells["state"] in (tmp_path / "step_speed.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {f"step_speed.{end}" for end in ("md", "json", "png")}
