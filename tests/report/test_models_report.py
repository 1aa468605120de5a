"""The report trains, judges and writes; it goes on where it was stopped, and says what falls short."""

import functools
import json
from dataclasses import replace

import pytest
import torch

from genfast.report import entries as entries_module
from genfast.report import result, run, tables
from genfast.report.entries import entries
from genfast.report.result import StepTimes
from genfast.report.run import Plan, models
from genfast.training import recipes

GOOD = result.Result(
    key="k", name="dcgan", fused=True, seed=0, images=100, steps=10, wanted_steps=10, seconds=3.0, step_ms=2.0,
    recognised=0.85, agreement=None, classes=10, largest=0.14, fid=3.0, kid=0.01, kid_deviation=0.0, precision=0.8,
    recall=0.7, score=8.0, device="box", threads=2, torch="2", genfast="0", commit="", date="2026-01-01T00:00:00Z",
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def little(monkeypatch):
    """Three steps of training, and few images to judge."""
    monkeypatch.setattr(run, "QUICK_STEPS", 3)
    return Plan(images=60, seeds=2, quick=True)


def test_a_report_is_written_and_goes_on_where_it_was_stopped(tmp_path, little, monkeypatch, capsys):
    trained = []
    real = entries_module.train

    def train(entry, *more):
        trained.append((entry.name, entry.recipe.training.seed, entry.fused))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(entry, *more)

    monkeypatch.setattr(run, "train", train)
    quick = functools.partial(models, tmp_path, ["vae_mlp"], little, progress=False)
    with pytest.raises(KeyboardInterrupt):
        quick()
    assert len(result.read(tmp_path / "models.jsonl")) == 2
    assert quick() == []
    assert trained[3:] == [("vae_mlp", 0, False), ("vae_mlp", 1, False)]
    assert quick() == [] and len(trained) == 5
    table = (tmp_path / "models.md").read_text()
    assert models(tmp_path, ["vae_mlp"], replace(little, twins=False), progress=False) == []
    assert len(trained) == 5 and (tmp_path / "models.md").read_text() == table and "plain PyTorch" in table
    lines = result.read(tmp_path / "models.jsonl")
    assert [(line.fused, line.seed, line.steps) for line in lines[:4]] == [
        (True, 0, 3), (True, 1, 3), (False, 0, 3), (False, 1, 3),
    ]  # fmt: skip
    assert isinstance(lines[4], StepTimes) and lines[4].genfast_ms > 0 < lines[4].eager_ms
    # The same seed and the same noise: after three steps both ways are still close.
    assert lines[0].fid == pytest.approx(lines[2].fid, rel=0.05)
    written = {path.name: path.stat().st_size for path in tmp_path.iterdir() if path.is_file()}
    assert set(written) == {"models.jsonl", "models.md", "models.png", "vae_mlp.png"}
    assert written["models.png"] > 3000 and written["vae_mlp.png"] > 3000
    text = (tmp_path / "models.md").read_text()
    assert "| real digits |" in text and "| vae_mlp | plain PyTorch | 2 |" in text
    assert "vae_mlp" in capsys.readouterr().out


def test_another_recipe_is_another_result(monkeypatch):
    before = {name: entry.key() for name, entry in entries().items()}
    assert len(set(before.values())) == len(before)
    assert entries(seed=1)["dcgan"].key() != before["dcgan"] != entries(fused=False)["dcgan"].key()
    recipe = recipes.gan_digits()["dcgan"]
    changed = replace(recipe, training=replace(recipe.training, batch_size=32))
    monkeypatch.setattr(recipes, "gan_digits", lambda seed=0: {"dcgan": changed})
    assert entries()["dcgan"].key() != before["dcgan"]


def test_training_ends_when_the_time_is_up():
    from genfast.data import digits

    trained = entries_module.train(entries()["vae_mlp"], digits(), 1e-6, lambda items, *_: items)
    assert trained.steps == 1 and trained.seconds > 0
    assert "1 of 3000 steps" in result.faults([replace(GOOD, steps=1, wanted_steps=3000)])[0]


@pytest.mark.parametrize("name", ["sequence_gan", "conditional_gan", "diffusion"])
def test_every_kind_gives_images_one_by_one(name):
    from genfast.data import digits

    entry = entries()[name].shortened(1)
    trainer = entry.trainer(digits())
    list(trainer.steps())
    images, labels = entry.samples(trainer, 21)
    assert images.shape == (21, 1, 8, 8)
    assert (labels is None) == (name == "sequence_gan")
    if labels is not None:
        assert labels.tolist() == [i % 10 for i in range(21)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"recognised": 0.79}, "dcgan: 79.0% of its digits are recognised, fewer than 80%"),
        ({"recognised": 0.3, "name": "wgan_gp"}, None),
        ({"agreement": 0.89}, "dcgan: 89.0% show the digit asked for, fewer than 90%"),
        ({"classes": 9}, "dcgan: it draws 9 of the 10 digits"),
        ({"largest": 0.26}, "dcgan: 26.0% of its digits are the same one, more than 25%"),
    ],
)
def test_what_falls_short_is_said(change, message):
    assert result.faults([replace(GOOD, **change)]) == ([] if message is None else [message])


def test_twins_are_compared_by_mean_and_spread():
    lines = [
        replace(GOOD, seed=0, fid=3.0), replace(GOOD, seed=1, fid=5.0), replace(GOOD, fused=False, fid=4.0),
        StepTimes("k", "dcgan", 2.0, 1.9, 2.1, 5.0, 4.9, 5.1, "box", 2, "2", "0", "", "2026-01-01T00:00:00Z"),
    ]  # fmt: skip
    first, second = (dict(zip(tables.TWINS_HEADER, row, strict=True)) for row in tables.twins(lines))
    assert (first["FID"], first["times as fast"], first["step ms"]) == ("4.00 ± 1.41", "2.50x", "2.00")
    assert (second["FID"], second["times as fast"], second["step ms"]) == ("4.00", "", "5.00")
    assert tables.twins(lines[:2]) == []


def test_results_survive_writing(tmp_path):
    path = tmp_path / "models.jsonl"
    result.write(path, [GOOD])
    assert result.read(path) == [GOOD] and json.loads(path.read_text())["fid"] == 3.0
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(ValueError, match=r"models.jsonl, line 2: no result of a report"):
        result.read(path)


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown model 'pixelcnn', expected one of mlp_gan, dcgan"):
        models(tmp_path, ["pixelcnn"])
    with pytest.raises(ValueError, match="seeds must be at least 1, images at least 10"):
        models(tmp_path, ["dcgan"], Plan(seeds=0))
