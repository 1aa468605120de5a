"""The tables of the README come from records, and a stale one is found."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import bench_fakes as fakes
import pytest

from genfast.bench import Settings, record, report, run_case
from genfast.bench.goals import GOALS

_SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "tables.py"
_PAGE = "# Title\n\n<!-- bench:begin double -->\nold\n<!-- bench:end -->\n\nrest\n"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("bench_tables", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def base():
    found = run_case(fakes.case(), Settings(rounds=3, seconds=1e-5, compiled=False))[0]
    return replace(found, median_us=10.0, speedup=7.5, date="2026-01-01T00:00:00Z")


@pytest.fixture
def page(tmp_path, base):
    record.append(tmp_path / "results" / "box" / "all.json", [base])
    path = tmp_path / "README.md"
    path.write_text(_PAGE)
    return path


def run(tables, page, *arguments):
    return tables.main([str(page), "--results", str(page.parent / "results"), *arguments])


def test_a_table_is_written_between_its_marks_and_nothing_else_changes(tables, page):
    assert run(tables, page) == 0
    text = page.read_text()
    assert "old" not in text and "| 7.5x |" in text and text.startswith("# Title\n") and text.endswith("\nrest\n")
    assert run(tables, page) == 0 and page.read_text() == text


def test_check_finds_a_stale_page_and_changes_nothing(tables, page, capsys):
    assert run(tables, page, "--check") == 1
    assert page.read_text() == _PAGE and "out of date" in capsys.readouterr().out
    run(tables, page)
    assert run(tables, page, "--check") == 0


def test_the_newest_record_of_a_case_counts(tables, base):
    newer = replace(base, speedup=9.0, date="2026-02-01T00:00:00Z")
    assert [r.speedup for r in tables.latest([newer, base])] == [9.0]
    assert [r.speedup for r in tables.latest([base, newer])] == [9.0]


def test_the_machine_is_the_newest_or_the_one_asked_for(tables, page, base):
    newer = replace(base, speedup=3.0, date="2026-03-01T00:00:00Z")
    record.append(page.parent / "results" / "other" / "all.json", [newer])
    run(tables, page)
    assert "| 3x |" in page.read_text()
    run(tables, page, "--machine", "box")
    assert "| 7.5x |" in page.read_text()


def test_failed_and_losing_rows_stay_in_the_table(tables, base):
    failed = replace(base, case="bad", status="failed", note="off", median_us=None, speedup=None)
    text = tables.table("double", [replace(base, speedup=0.5), failed])
    assert "| **0.5x** |" in text and "FAILED: off" in text


def test_each_baseline_has_a_column_and_peak_memory_stands_beside_it(tables, base):
    peaks = {"peak_bytes": 2 << 20, "baseline_peak_bytes": 6 << 20}
    rows = [
        replace(base, baseline="diffusers_ddpm", **peaks),
        replace(base, baseline="compile", speedup=2.0, peak_bytes=2 << 20, baseline_peak_bytes=3 << 20),
        replace(base, case="other", baseline="diffusers_ddim", speedup=0.9),
    ]
    header, _, first, second = tables.table("double", rows).splitlines()[:4]
    assert " | diffusers | compile | " in header and header.endswith("| peak MiB |")
    assert "| 7.5x | 2x |" in first and first.endswith("| 2 / 3 to 6 |")
    assert "| **0.9x** |  |" in second and second.endswith("|  |")


def test_a_row_comes_from_one_run_the_one_with_the_most_baselines(tables, base):
    suite = [base, replace(base, baseline="compile", speedup=2.0)]
    again = replace(base, median_us=11.0, speedup=3.0, date="2026-02-01T00:00:00Z")
    for records in ([*suite, again], [again, *suite]):
        assert "| 10 | 7.5x | 2x |" in tables.table("double", records)
    newer = [replace(r, median_us=12.0, date="2026-03-01T00:00:00Z") for r in suite]
    assert "| 12 | 7.5x | 2x |" in tables.table("double", [*newer, *suite])


def test_instruction_sets_are_told_apart_where_there_are_several(tables, base):
    both = [base, replace(base, isa="avx2", speedup=3.0)]
    assert "| isa |" not in tables.table("double", both[:1])
    text = tables.table("double", both)
    assert "| isa |" in text and sum(line.startswith(f"| {base.case} ") for line in text.splitlines()) == 2


def test_goals(tables, base):
    goal = GOALS[0]
    met = replace(base, op=goal.op, variant="", shape=goal.shape, baseline="eager", speedup=goal.bound)
    text = tables.table("goals", [met])
    assert "pass" in text and "not measured" not in text
    assert tables.table(f"goals-{goal.family}", [met]) == text
    with pytest.raises(tables.TableError, match="no record is about the goals 'conv'"):
        tables.table("goals-conv", [met])


def test_a_digest_has_the_range_of_an_op_and_how_many_goals_are_met(tables, base):
    steps = [g for g in GOALS if g.members[0].op == "sampler_step" and g.baseline == "eager" and g.metric == "speedup"]
    found = [
        replace(base, op=g.op, variant=g.variant, shape=g.shape, case=g.case, baseline="eager", speedup=g.bound - k)
        for k, g in enumerate(steps[:2])
    ]
    row = f"| sampler_step | eager | {found[0].speedup}x | {found[1].speedup}x | 1 of 2 |"
    assert row in tables.table("digest", found)


def test_records_of_several_instruction_sets_stand_side_by_side(tables, base):
    assert len(tables.latest([base, replace(base, isa="avx2", date="2026-02-01T00:00:00Z")])) == 2


@pytest.mark.parametrize("text", ["<!-- bench:begin nothing -->\n<!-- bench:end -->\n"])
def test_a_block_about_nothing_is_an_error(tables, page, text, capsys):
    page.write_text(text)
    assert run(tables, page) == 1
    assert "no record is about 'nothing'" in capsys.readouterr().err
    assert page.read_text() == text


def test_what_records_differ_in_is_named_for_each(base):
    facts = (("avx512", "a1", "2026-01-01"), ("avx2", "b2", "2026-01-02"), ("avx2", "c3", "2026-01-02"))
    records = [replace(base, isa=isa, commit=commit, date=f"{day}T00:00:00Z") for isa, commit, day in facts]
    line = report.machine_line(records)
    assert ", avx512 and avx2, " in line
    assert line.endswith(", commit a1, b2 and c3, 2026-01-01 and 2026-01-02")
    assert report.machine_line(records[:1]).endswith(", commit a1, 2026-01-01")


def test_no_records_is_an_error(tables, page, capsys):
    assert run(tables, page, "--machine", "absent") == 1
    assert "holds no records of absent" in capsys.readouterr().err


def test_shares_name_the_ops_that_take_most_of_the_time(tables, base):
    shares = {"convolution_backward": 0.6, "convolution": 0.35, "add": 0.05}
    text = tables.table("shares-double", [replace(base, op_shares=shares), replace(base, case="other")])
    assert "convolution_backward 60%, convolution 35% |" in text and "other" not in text
    with pytest.raises(tables.TableError, match="no record has the shares"):
        tables.table("shares-double", [base])


def test_the_report_of_models_is_taken_as_it_is(tables, page):
    page.write_text(page.read_text() + "<!-- bench:begin models -->\n<!-- bench:end -->\n")
    assert run(tables, page) == 1
    folder = page.parent / "results" / "box" / "models"
    folder.mkdir()
    (folder / "models.md").write_text("| dcgan | 81% |\n")
    assert run(tables, page) == 0
    assert "<!-- bench:begin models -->\n| dcgan | 81% |\n<!-- bench:end -->" in page.read_text()
