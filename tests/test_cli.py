"""The command line: what it does, and that a mistake ends in one line on stderr and harms nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image

from genfast import tuning
from genfast.cli import main
from genfast.models import UNet, UNetConfig
from genfast.schedules import Schedule
from genfast.training import Trainer, TrainingConfig, load_checkpoint, save_checkpoint

TINY = {"image_size": 8, "in_channels": 1, "channels": 8, "multipliers": [1], "blocks": 1, "attention": [], "groups": 4}


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "network.json"
    path.write_text(json.dumps(TINY | {"classes": 10}))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from genfast.data import digits

    model = UNet(UNetConfig.from_dict(TINY | {"classes": 10}))
    trainer = Trainer(model, digits(), Schedule("cosine"), TrainingConfig(steps=2, batch_size=4), data="digits")
    list(trainer.steps())
    return trainer.save(tmp_path_factory.mktemp("run") / "checkpoint.safetensors")


def train(call, out, network, *more):
    return call(
        "train", "diffusion", "--data", "digits", "--out", out, "--model", network, "--batch-size", 4, "--steps", 3,
        "--no-tensorboard", *more,
    )  # fmt: skip


def test_info_names_what_is_there(call):
    code, output, _ = call("info")
    assert code == 0
    facts = dict(line.split(maxsplit=1) for line in output.splitlines() if line)
    assert facts["torch"] == torch.__version__
    assert facts["threads"].startswith(str(torch.get_num_threads()))
    assert "Triton" in facts
    assert "CUDA kernels" in output
    assert "backend reference" in output


def test_info_tells_what_to_do_without_the_native_library(call, monkeypatch):
    monkeypatch.setattr("genfast.cli.info.native", None)
    code, output, _ = call("info")
    assert code == 0
    assert "not built" in output
    assert "Build the native library: pip install" in output


def test_samplers_lists_every_one(call):
    from genfast.samplers import names

    code, output, _ = call("samplers")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == list(names())


def test_trains_then_resumes_then_samples(call, network, tmp_path):
    out = tmp_path / "run"
    assert train(call, out, network)[0] == 0
    code, output, _ = train(call, out, network, "--resume", "--steps", 5)
    assert (code, output) == (0, f"trained 5 steps, saved in {out}\n")
    picture = tmp_path / "grid.png"
    code, output, _ = call(
        "sample", out, "--sampler", "ddim", "--steps", 2, "--seeds", "0:6,9", "--labels", "3,5:7", "--guidance", 1.5,
        "--out", picture, "--columns", 4, "--scale", 1,
    )  # fmt: skip
    assert code == 0
    assert output.startswith(f"wrote {picture}: 7 images, ddim, 2 steps")
    with Image.open(picture) as image:
        assert image.size == (4 * 9 - 1, 2 * 9 - 1)


def test_options_reach_the_sampler(call, checkpoint, tmp_path):
    pictures = []
    for options in (("eta=0",), ("eta=0.5",), ()):
        picture = tmp_path / f"{len(pictures)}.png"
        given = [word for option in options for word in ("--option", option)]
        arguments = ("--sampler", "ddim", "--steps", 3, "--seeds", "0:2", "--out", picture)
        assert call("sample", checkpoint, *arguments, *given)[0] == 0
        pictures.append(picture.read_bytes())
    assert pictures[0] == pictures[2] != pictures[1]


def test_backend_changes_no_bit_of_the_picture(call, checkpoint, tmp_path):
    pictures = []
    for backend in ((), ("--backend", "reference")):
        path = tmp_path / f"{len(pictures)}.png"
        assert call("sample", checkpoint, "--steps", 2, "--seeds", "0:3", "--out", path, *backend)[0] == 0
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]


def test_ctrl_c_saves_and_tells_how_to_go_on(network, tmp_path):
    out = tmp_path / "run"
    options = ["--steps", "1000000", "--batch-size", "4", "--no-tensorboard", "--save-every", "1"]
    command = f"{sys.executable} -m genfast train diffusion --data digits --out {out} --model {network}".split()
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    step = load_checkpoint(out).step
    assert errors == (
        f"genfast: interrupted after step {step}, saved in {out}/checkpoint.safetensors. "
        f"Go on with: genfast train diffusion --data digits --out {out} --resume\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sampler", "magic"), "unknown sampler 'magic', expected one of ddim, ddpm"),
        (("--sampler", "flow_euler"), "'flow_euler' needs a flow schedule"),
        (("--steps", 0), "--steps"),
        (("--steps", "many"), "--steps"),
        (("--seeds", "5:5"), "seeds: the range 5:5 is empty"),
        (("--seeds", "a"), "seeds must be ints and ranges such as 3 or 0:64 or 1,5,10:20, got 'a'"),
        (("--seeds", ""), "seeds must be ints and ranges"),
        (("--seeds", "0:99999999999"), "holds more than 1048576 entries"),
        (("--labels", "10"), "labels must be in [0, 9], got 10 to 10"),
        (("--labels", "cat"), "labels must be ints and ranges"),
        (("--spacing", "wide"), "wide"),
        (("--sampler", "ddim", "--option", "order=2"), "sampler's options (eta=0.0), got 'order=2'"),
        (("--sampler", "ddim", "--option", "eta"), "option must be NAME=VALUE"),
        (("--sampler", "ddim", "--option", "eta=high"), "option eta must be of type float, got 'high'"),
        (("--sampler", "ddim", "--option", "eta=-1"), "eta must be a finite number of at least 0"),
        (("--out", "grid.doc"), "the suffix must be that of a picture"),
        (("--device", "tpu"), "unknown device 'tpu'"),
        (("--device", "cuda:7"), "device cuda:7 was asked for, but"),
        (("--backend", "magic"), "unknown backend 'magic', expected one of cpu, cuda, triton, reference"),
        (("--columns", 0), "--columns"),
        (("--no-such-option",), "--no-such-option"),
    ],
)
def test_bad_sampling_arguments_are_usage_errors(call, checkpoint, tmp_path, arguments, message):
    picture = tmp_path / "grid.png"
    picture.write_bytes(b"precious")
    code, output, errors = call("sample", checkpoint, "--out", picture, *arguments)
    assert (code, output) == (2, "")
    assert message in errors
    assert picture.read_bytes() == b"precious"


def test_missing_backend_is_a_usage_error(call, checkpoint, monkeypatch):
    monkeypatch.setattr(sys.modules["genfast.backend"], "_missing_cuda", lambda: "no CUDA device is present")
    code, _, errors = call("sample", checkpoint, "--backend", "cuda")
    assert (code, errors) == (2, "genfast: genfast.backend: 'cuda' is not available: no CUDA device is present\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--data", "folder:{empty}"), 1, "{empty}: holds no images"),
        (("--data", "mnist:{truncated}"), 1, "truncated: expected 7856 bytes for shape [10, 28, 28], got 100"),
        (("--data", "cifar"), 1, "data must be one of digits, mnist:DIR"),
        (("--device", "cuda:7"), 2, "device cuda:7 was asked for, but"),
        (("--steps", "0"), 2, "--steps"),
        (("--lr", "nan"), 2, "lr must be a number"),
        (("--target", "score"), 2, "target must be one of epsilon, v, x0, flow, got 'score'"),
        (("--schedule", "wavy"), 2, "unknown kind 'wavy', expected one of linear"),
        (("--schedule", "betas"), 2, "the kind 'betas' needs betas="),
        (("--model", "{empty}/none.json"), 2, "cannot read"),
        (("--channels", "3"), 1, "the images of digits are grey"),
        (("--resume",), 1, "there is no checkpoint to resume"),
    ],
)
def test_bad_training_arguments_leave_nothing_behind(call, tmp_path, network, arguments, code, message):
    places = {"empty": tmp_path / "empty", "truncated": tmp_path / "truncated"}
    for folder in places.values():
        folder.mkdir()
    header = bytes([0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0, 28])
    (places["truncated"] / "train-images-idx3-ubyte").write_bytes(header + bytes(84))
    (places["truncated"] / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 10]) + bytes(10))
    out = tmp_path / "run"
    given = [argument.format(**places) for argument in arguments]
    result = train(call, out, network, *given)
    assert result[:2] == (code, "")
    assert message.format(**places) in result[2]
    assert not out.exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"\x10\0\0\0\0\0\0\0{}"])
def test_foreign_checkpoint_is_refused_and_kept(call, tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    code, _, errors = call("sample", path, "--out", tmp_path / "grid.png")
    assert code == 1
    assert errors.startswith(f"genfast: {path}: corrupt, truncated, or not a checkpoint")
    assert errors.count("\n") == 1
    assert path.read_bytes() == data
    assert not (tmp_path / "grid.png").exists()


def test_full_disk_while_saving_is_one_line(call, network, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert train(call, out, network)[0] == 0
    before = (out / "checkpoint.safetensors").read_bytes()

    def fail(tensors, path, metadata):
        path.write_bytes(before[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    code, _, errors = train(call, out, network, "--resume", "--steps", 5)
    assert code == 1
    assert errors.splitlines()[-1] == f"genfast: [Errno 28] No space left on device: '{out}/checkpoint.safetensors'"
    assert [path.name for path in out.iterdir()] == ["checkpoint.safetensors"]
    assert (out / "checkpoint.safetensors").read_bytes() == before


def test_weights_of_another_network_are_one_line(call, checkpoint, tmp_path):
    state = load_checkpoint(checkpoint)
    other = replace(state, model_config=replace(state.model_config, channels=16))
    path = save_checkpoint(tmp_path / "other.safetensors", other)
    code, _, errors = call("sample", path, "--out", tmp_path / "grid.png")
    assert code == 1
    assert errors.startswith("genfast: Checkpoint: the weights 'ema' do not fit the model: size mismatch for ")
    assert errors.count("\n") == 1


def test_too_little_memory_is_one_line(call, checkpoint, tmp_path):
    code, _, errors = call("sample", checkpoint, "--seeds", "0", "--steps", 1, "--out", tmp_path / "a.png",
                           "--scale", 10**8)  # fmt: skip
    assert code == 1
    assert errors.startswith("genfast: out of memory: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "a.png").exists()


def test_full_disk_while_logging_is_one_line(call, network, tmp_path, monkeypatch):
    def fail(writer, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", fail)
    code, _, errors = train(call, tmp_path / "run", network, "--tensorboard")
    assert code == 1
    assert errors.splitlines()[-1] == f"genfast: [Errno 28] No space left on device: '{tmp_path}/run/logs'"


def test_divergence_is_one_line(call, network, tmp_path):
    code, _, errors = train(call, tmp_path / "run", network, "--lr", "1e30", "--warmup", "0", "--steps", "50")
    assert code == 1
    assert "genfast: the loss is" in errors


def test_missing_packages_are_named(capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "typer", None)
    assert main(["samplers"]) == 1
    assert capfd.readouterr().err == ("genfast: the command line needs typer and rich: pip install genfast[cli]\n")
    assert main(["info"]) == 0
    assert "backend reference" in capfd.readouterr().out


def test_bench_refuses_an_unknown_suite(call):
    code, _, errors = call("bench", "--suite", "everything")
    assert code == 2
    assert "--suite must be one of" in errors


def test_importing_the_command_loads_no_optional_package():
    code = "import sys, genfast.cli; print(sorted({'typer', 'rich', 'safetensors', 'PIL'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.fixture
def no_choices():
    """Nothing chosen before, as in a process of the command's own."""
    tuning.clear()
    tuning.enable()
    yield
    tuning.clear()


def test_tune(call, checkpoint, tmp_path, monkeypatch, no_choices):
    # Choices are saved only if times repeat, which they need not while other processes run.
    monkeypatch.setattr("genfast.ops._conv.measure.Runner.time", lambda self: 1e-3)
    file = tmp_path / "choices.json"
    shape = "x=2x16x24x24 weight=16x16x4x4 stride=2x2 padding=1 act=relu bias bfloat16 channels_last"
    code, out, err = call("tune", "--shape", shape.replace("padding=1", "padding=1x1"), "--file", file, "--show")
    assert code == 0 and "weight=16x16x4x4 stride=2x2 padding=1x1" in out and "bfloat16" in out, (out, err)
    assert len(json.loads(file.read_text())["choices"]) == 1
    # What is in the file stays there, and what is not measured is not written.
    assert call("tune", checkpoint, "--batch-size", 64, "--file", file)[0] == 0
    code, out, err = call("tune", "--file", file, "--show")
    assert code == 0 and out.count("x=2x16x24x24") >= 1 and "x=64x8x8x8" in out


def test_mistakes_of_tune(call, tmp_path):
    for arguments, words in (
        ((), "give a checkpoint or --shape"),
        (("--shape", "x=1x2x3"), "must have four sizes"),
        (("--shape", "x=1x2x3x4 weight=2x2xaxa"), "ints with an x between"),
        (("--shape", "x=1x2x3x4 weight=2x2x1x1 size=3"), "unknown word 'size=3'"),
        (("--shape", "x=1x2x3x4 weight=2x3x1x1"), "weight must be"),
        (("--shape", "x=1x2x3x4 weight=2x2x1x1", "--numerics", "loose"), "--numerics must be one of fast, exact"),
        ((tmp_path / "none",), "no such checkpoint"),
    ):
        code, out, err = call("tune", *arguments)
        assert code and not out and words in err, (arguments, err)
