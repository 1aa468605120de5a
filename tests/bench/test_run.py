"""The command: exit codes, files, bad arguments, and what happens where libraries are missing."""

from __future__ import annotations

import sys

import bench_fakes as fakes
import pytest
import torch

from genfast.bench import Contender, main, record, run
from genfast.bench.__main__ import run as command


@pytest.fixture
def suite(monkeypatch):
    """Makes ``main`` measure the given cases."""

    def use(*cases):
        monkeypatch.setattr(run, "suite_cases", lambda name, device, quick: list(cases))

    return use


def test_a_run_prints_a_table_and_writes_what_it_was_asked_for(suite, tmp_path, capsys):
    suite(*(fakes.case(op="sampler_step", shape=fakes.SHAPE, variant=v) for v in ("ddpm", "ddim")))
    folder, lines = tmp_path / "report", tmp_path / "records.jsonl"
    assert main("all", quick=True, json=lines, report=folder, device="cpu", threads=1) == 0
    out = capsys.readouterr().out
    assert "ddpm 2x3x4x4 float32" in out and "2 measured" in out
    assert len(record.read(lines)) == len(record.read(folder / "records.jsonl")) == 2
    text = (folder / "report.md").read_text()
    assert "| sampler_step | ddpm 2x3x4x4 float32 |" in text
    assert (folder / "bandwidth.png").read_bytes().startswith(b"\x89PNG")


def test_a_failed_check_is_an_exit_code_and_a_missed_goal_is_not(suite, capsys):
    suite(fakes.case(call=lambda x: x * 2.001))
    assert main("all", quick=True, device="cpu") == 1
    assert "FAILED" in capsys.readouterr().out
    suite(fakes.case())
    assert main("goals", quick=True, device="cpu") == 0
    assert "not measured" in capsys.readouterr().out


def test_quick_compiles_for_one_case_of_an_op(suite):
    built = []

    def build():
        built.append(1)
        return fakes.double

    case = fakes.case(baselines=(*fakes.case().baselines, Contender("compile", build, compiled=True)))
    suite(case, case, case, case, case)
    main("all", quick=True, device="cpu")
    assert len(built) == 1


def test_threads_are_set_for_the_run_and_put_back(suite):
    seen = []
    before = torch.get_num_threads()
    suite(fakes.case(call=lambda x: seen.append(torch.get_num_threads()) or x * 2))
    main("all", quick=True, device="cpu", threads=1)
    assert set(seen) == {1} and torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "threads must be at least 1, got 0"),
        (["--device", "tpu"], "device must be cpu or cuda, got 'tpu'"),
        (["--device", "mps"], "device must be cpu or cuda, got 'mps'"),
    ],
)
def test_bad_arguments_are_one_line_and_an_exit_code(arguments, message, capsys):
    assert command(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_json_file_that_cannot_be_written_is_one_line_and_an_exit_code(suite, tmp_path, capsys):
    suite(fakes.case())
    (tmp_path / "file").write_text("")
    assert command(["--quick", "--device", "cpu", "--json", str(tmp_path / "file" / "records.jsonl")]) == 2
    assert "genfast.bench: " in capsys.readouterr().err.splitlines()[-1]


def test_an_unknown_suite_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        command(["--suite", "speed"])
    assert caught.value.code == 2 and "speed" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_where_there_is_none_is_refused(capsys):
    assert command(["--device", "cuda"]) == 2
    assert "no CUDA device is present" in capsys.readouterr().err


def test_without_rich_and_matplotlib_there_is_still_a_table_and_a_report(suite, tmp_path, capsys, monkeypatch):
    for name in ("rich", "rich.console", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    suite(fakes.case(op="sampler_step"))
    assert main("all", quick=True, report=tmp_path, device="cpu") == 0
    captured = capsys.readouterr()
    assert "2x3x4x4 float32" in captured.out
    assert "matplotlib is not installed" in captured.err
    assert (tmp_path / "report.md").exists() and not list(tmp_path.glob("*.png"))


def test_what_was_measured_before_a_crash_is_kept(suite, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    path = tmp_path / "records.jsonl"
    suite(fakes.case(), fakes.case(make=interrupted))
    with pytest.raises(KeyboardInterrupt):
        main("all", quick=True, json=path, device="cpu")
    assert len(record.read(path)) == 1
