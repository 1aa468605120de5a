"""``genfast evaluate`` and ``genfast report``: what they print, and what they refuse."""

import json

import pytest
import torch
from PIL import Image

from genfast.cli import main
from genfast.data import digits
from genfast.report.entries import entries
from genfast.report.evaluate import Sampling, evaluation
from genfast.training import judge, train_classifier


@pytest.fixture
def call(capfd):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        output = capfd.readouterr()
        assert "Traceback" not in output.err
        return code, output.out, output.err

    return run


@pytest.fixture(scope="module")
def one_thread():
    """Tiny networks lose time to a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, one_thread):
    folder = tmp_path_factory.mktemp("runs")
    paths = {}
    for name in ("conditional_gan", "vae_mlp", "diffusion"):
        trainer = entries()[name].shortened(2).trainer(digits())
        list(trainer.steps())
        paths[name] = trainer.save(folder / f"{name}.safetensors")
    return paths


@pytest.fixture(autouse=True)
def quick(monkeypatch, one_thread):
    """A classifier that has seen the digits twice."""
    monkeypatch.setattr(judge, "train_classifier", lambda images, epochs: train_classifier(images, epochs=2))


@pytest.mark.parametrize("name", ["conditional_gan", "vae_mlp", "diffusion"])
def test_checkpoints_of_every_kind_are_judged(checkpoints, name, call, tmp_path):
    file = tmp_path / "numbers.json"
    code, output, _ = call(
        "evaluate", checkpoints[name], "--data", "digits", "--samples", 30, "--steps", 2, "--json", file, "--cache",
        tmp_path,
    )  # fmt: skip
    found = json.loads(file.read_text())
    assert code == 0 and found["quality"]["images"] == 30 and found["quality"]["real_images"] == 1797
    assert f"{found['quality']['fid']:.3f}" in output and "recognised" in output
    assert ("class asked for" in output) == (name != "vae_mlp")
    # Both the classifier and the statistics are kept, and taken again.
    kept = {path.name.partition("-")[0] for path in tmp_path.glob("*-*.safetensors")}
    assert kept == {"classifier", "statistics"}
    again = evaluation(str(checkpoints[name]), "digits", sampling=Sampling(30, steps=2), cache=tmp_path)
    assert again.quality.fid == pytest.approx(found["quality"]["fid"], rel=1e-6)


def test_a_corrupt_classifier_is_reported_and_made_anew(tmp_path):
    first = judge.Judge(digits(), cache=tmp_path)
    (path,) = tmp_path.glob("classifier-*")
    path.write_bytes(path.read_bytes()[:-9])
    told = []
    again = judge.Judge(digits(), cache=tmp_path, report=told.append)
    assert len(told) == 1 and path.name in told[0] and told[0].endswith("; computed anew")
    assert again.unseen == first.unseen
    judge.Judge(digits(), cache=tmp_path, report=told.append)
    assert len(told) == 1


def test_images_of_a_folder_are_judged_against_labelled_ones(tmp_path, call):
    pixels, labels = digits()[range(60)]
    for k, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = tmp_path / "real" / str(int(label)) / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(((image[0] + 1) * 127.5).byte().numpy()).save(path)
    folder = f"folder:{tmp_path / 'real'}"
    code, output, _ = call("evaluate", folder, "--data", folder, "--size", 8, "--channels", 1)
    assert code == 0
    assert "60, 60" in output and "0.000" in output
    found = evaluation(folder, folder, size=8, channels=1)
    assert found.quality.fid == pytest.approx(0.0, abs=1e-4)
    assert (found.quality.precision, found.quality.recall) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("{none}", "--data", "digits"), 1, "no such checkpoint"),
        (("folder:{empty}", "--data", "digits"), 1, "holds no images"),
        (("folder:{flat}", "--data", "folder:{flat}"), 1, "no labels to train a classifier on: give --features"),
        (("folder:{flat}", "--data", "digits", "--features", "vgg"), 2, "--features must be digits or inception:FILE"),
        (("folder:{flat}", "--data", "digits", "--features", "inception:{none}"), 1, "no such file of Inception"),
    ],
)
def test_mistakes_are_one_line(call, tmp_path, arguments, code, message):
    places = {name: tmp_path / name for name in ("none", "empty", "flat")}
    for name in ("empty", "flat"):
        places[name].mkdir()
    Image.new("L", (8, 8)).save(places["flat"] / "a.png")
    result = call("evaluate", *(argument.format(**places) for argument in arguments))
    assert result[0] == code and message in result[2] and result[2].count("\n") == 1


def test_report_refuses_an_unknown_model(call, tmp_path):
    code, _, errors = call("report", "models", "--models", "dcgan,pixelcnn", "--out", tmp_path)
    assert code == 1 and "unknown model 'pixelcnn', expected one of" in errors
