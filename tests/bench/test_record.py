"""The records: their fields, and files that are never half written."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace

import bench_fakes as fakes
import pytest

from genfast.bench import Settings, record, run_case

CONTRACT = {
    "op", "case", "mode", "backend", "baseline", "median_us", "p20_us", "p80_us", "baseline_median_us", "speedup",
    "max_error", "baseline_max_error", "bytes", "flops", "share_of_limit", "device", "threads", "torch", "genfast",
    "commit", "date",
}  # fmt: skip


@pytest.fixture(scope="module")
def one():
    return run_case(fakes.case(), Settings(rounds=3, seconds=1e-5, compiled=False))[0]


def test_a_line_has_every_field_of_the_contract_and_comes_back(one):
    values = json.loads(one.as_json())
    assert set(values) >= CONTRACT
    back = record.from_json(one.as_json())
    assert (back.op, back.shape, back.status) == (one.op, one.shape, one.status)
    assert back.median_us == pytest.approx(one.median_us, rel=1e-5)
    assert record.from_json(back.as_json()) == back


def test_numbers_json_has_no_word_for_become_null(one):
    line = replace(one, max_error=math.inf, baseline_max_error=math.nan).as_json()
    values = json.loads(line, parse_constant=pytest.fail)
    assert values["max_error"] is None and values["baseline_max_error"] is None


def test_append_keeps_what_was_there(tmp_path, one):
    path = tmp_path / "deep" / "records.jsonl"
    record.append(path, [one])
    path.write_text(path.read_text().rstrip("\n"))  # as an editor may leave it
    record.append(path, [one, one])
    assert [r.op for r in record.read(path)] == ["double"] * 3


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, one, monkeypatch):
    path = tmp_path / "records.jsonl"
    record.append(path, [one])
    before = path.read_text()

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        record.append(path, [one])
    assert path.read_text() == before
    assert os.listdir(tmp_path) == ["records.jsonl"]


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 2"), ("[1]", "must be a JSON object"), ('{"op": "x"}', "lacks case")],
)
def test_reading_names_the_line_that_is_no_record(tmp_path, one, line, message):
    path = tmp_path / "records.jsonl"
    path.write_text(one.as_json() + "\n" + line + "\n")
    with pytest.raises(ValueError, match=message):
        record.read(path)
