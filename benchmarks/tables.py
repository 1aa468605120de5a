"""Write the README's benchmark tables from the committed records, or check that they are up to date.

    python benchmarks/tables.py [--check] [--machine NAME] [FILE ...]

A table stands between ``<!-- bench:begin NAME -->`` and ``<!-- bench:end -->``. NAME is ``goals``, or
``goals-<family>`` for those of one family; ``digest``, the range of their speed-ups for each op and baseline;
``shares-<op>``, which ops its cases' time goes into; ``models``, what ``genfast report models`` wrote; or an op with an
optional baseline, ``sampler_step``, ``sampler_step/compile``: a row for each case, from one run of it, and a column for
each baseline. The records are benchmarks/results/<machine>/*.json, JSON lines; elsewhere, of several about one case and
baseline, the last counts.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from genfast.bench import goals, record, report
from genfast.bench.record import Record

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FILES = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("benchmarks", "measurements", "metrics")))
_BLOCK = re.compile(
    r"(<!-- bench:begin (?P<name>[\w/-]+)(?: (?P<machine>[\w.-]+))? -->\n).*?(<!-- bench:end -->)", re.DOTALL
)


class TableError(Exception):
    """A block that cannot be written; the message is for the user."""


def _report(machine: str | None, results: Path) -> str:
    """What ``genfast report models`` wrote on one machine, by default the only one with a report."""
    found = sorted(results.glob(f"{machine or '*'}/models/models.md"))
    if len(found) != 1:
        whose = f" of {machine}" if machine else ""
        raise TableError(f"{results} must hold one report of models{whose}, got {len(found)}")
    return found[0].read_text()


def load(machine: str | None, results: Path = RESULTS) -> list[Record]:
    """The records of one machine, by default the only one, or the one with the newest record."""
    folders = [f for f in sorted(results.glob("*")) if f.is_dir() and any(f.glob("*.json*"))]
    if machine is not None:
        folders = [f for f in folders if f.name == machine]
    if not folders:
        raise TableError(f"{results} holds no records{f' of {machine}' if machine else ''}")
    sets = [[r for file in sorted(f.glob("*.json*")) for r in record.read(file)] for f in folders]
    return max(sets, key=lambda records: max((r.date for r in records), default=""))


def latest(records: Iterable[Record]) -> list[Record]:
    """One record for each case and baseline: the newest, in the order in which they first came."""
    found: dict[tuple[object, ...], Record] = {}
    for r in records:
        key = (r.op, r.case, r.mode, r.cache, r.backend, r.isa, r.baseline)
        if key not in found or r.date >= found[key].date:
            found[key] = r
    return list(found.values())


def whole_runs(records: Iterable[Record]) -> list[Record]:
    """For each case the run with the most baselines, of those the newest, in the order in which cases first came.

    All records of a run have the median of genfast in common.
    """
    cases: dict[tuple[object, ...], dict[tuple[object, ...], list[Record]]] = {}
    for r in records:
        runs = cases.setdefault((r.op, r.case, r.mode, r.cache, r.backend, r.isa), {})
        runs.setdefault((r.median_us, r.commit), []).append(r)
    return [
        r for runs in cases.values() for r in max(runs.values(), key=lambda run: (len(latest(run)), run[-1].date))
    ]  # fmt: skip


def _column(baseline: str) -> str:
    """The schedulers of diffusers, of which each step has its own, share a column."""
    return "diffusers" if baseline.startswith("diffusers") else baseline


def _times(same: Iterable[Record]) -> str:
    """How many times faster than the baselines of one column; what is lost is bold."""
    found = [(f"{report.number(r.speedup)}x", r.speedup) for r in same if r.speedup is not None]
    return ", ".join(text if value >= 1 else f"**{text}**" for text, value in found)


def _peaks(same: Sequence[Record]) -> str:
    """The peak memory of genfast and the range of the baselines'."""
    own = next((r.peak_bytes for r in same if r.peak_bytes is not None), None)
    others = [r.baseline_peak_bytes for r in same if r.baseline_peak_bytes is not None]
    if own is None or not others:
        return ""
    low, high = (report.number(bound / 2**20) for bound in (min(others), max(others)))
    return f"{report.number(own / 2**20)} / {low}{f' to {high}' if high != low else ''}"


def _newest(records: Iterable[Record]) -> str:
    return report.machine_line(sorted(records, key=lambda r: r.date))


def _goals(family: str, records: Sequence[Record]) -> str:
    outcomes = [o for o in goals.outcomes(records, goals.of_family(family)) if o.value is not None]
    if not outcomes:
        raise TableError(f"no record is about the goals {family!r}")
    members = [member for outcome in outcomes for member in outcome.goal.members]
    used = [r for r in records if any(member.measured(r) is not None for member in members)]
    body = report.markdown(report.GOAL_HEADER, report.goal_rows(outcomes))
    return f"{body}\n{_newest(used)}.\n"


_MOST_OF_IT, _SHOWN_OPS = 0.9, 8
_DIGEST_HEADER = ("op", "beside", "smallest", "largest", "goals met")


def _digest(records: Sequence[Record]) -> str:
    """For each op, mode and baseline that goals speak of: the range of the speed-ups, and how many goals are met."""
    found: dict[tuple[str, str], tuple[list[float], list[bool]]] = {}
    for outcome in goals.outcomes(records):
        first = outcome.goal.members[0]
        if outcome.value is None or first.metric != "speedup":
            continue
        mode = "" if first.mode == "forward" else f", {first.mode.replace('_', ' + ')}"
        values, met = found.setdefault((f"{first.op}{mode}", first.baseline), ([], []))
        values += [value for member in outcome.goal.members if (value := member.value(records)) is not None]
        met.append(outcome.met)
    rows = [
        (op, baseline, f"{report.number(min(values))}x", f"{report.number(max(values))}x", f"{sum(met)} of {len(met)}")
        for (op, baseline), (values, met) in found.items()
    ]
    return f"{report.markdown(_DIGEST_HEADER, rows)}\n{_newest(records)}.\n"


def _shares(op: str, records: Sequence[Record]) -> str:
    """For each case of an op, the ops inside it that take most of its time: eight, or what makes nine tenths."""
    cases = {r.case: r for r in records if r.op == op and r.op_shares}
    if not cases:
        raise TableError(f"no record has the shares of the ops in {op!r}")
    rows = []
    for case, r in cases.items():
        parts, seen = [], 0.0
        for name, share in (r.op_shares or {}).items():
            parts.append(f"{name} {share:.0%}")
            seen += share
            if seen > _MOST_OF_IT or len(parts) == _SHOWN_OPS:
                break
        rows.append((case, report.number(r.median_us), ", ".join(parts)))
    return f"{report.markdown(('case', 'genfast us', 'share of the time in ops'), rows)}\n{_newest(cases.values())}.\n"


def table(name: str, records: Sequence[Record]) -> str:
    """The Markdown of one block, with the machine below it."""
    whole, records = whole_runs(records), latest(records)
    kind, _, family = name.partition("-")
    if kind == "goals":
        return _goals(family, records)
    if kind == "shares":
        return _shares(family, records)
    if name == "digest":
        return _digest(records)
    op, _, baseline = name.partition("/")
    wanted = [r for r in whole if r.op == op and baseline in ("", r.baseline)]
    if not wanted:
        raise TableError(f"no record is about {name!r}")
    return f"{_cases(wanted)}\n{_newest(wanted)}.\n"


def _cases(wanted: Sequence[Record]) -> str:
    """A row for each case, a column for each baseline."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    several = len({r.isa for r in wanted}) > 1
    for r in wanted:
        groups.setdefault((r.case, r.mode, r.cache, r.isa if several else ""), []).append(r)
    columns = list(dict.fromkeys(_column(r.baseline) for r in wanted))
    header = ("case", "mode", "cache", "isa", "genfast us", *columns, "of limit", "peak MiB", "note")
    rows = []
    for (case, mode, cache, isa), same in groups.items():
        first = same[0]
        times = [_times(r for r in same if _column(r.baseline) == column) for column in columns]
        share = "" if first.share_of_limit is None else f"{first.share_of_limit:.0%}"
        failed = next((f"FAILED: {r.note}" for r in same if r.status == record.FAILED), "")
        own = report.number(first.median_us)
        rows.append((case, mode.replace("_", " + "), cache, isa, own, *times, share, _peaks(same), failed))
    return report.markdown(header, rows)


def rewrite(text: str, machine: str | None, results: Path = RESULTS) -> str:
    """``text`` with every block written anew."""

    def block(match: re.Match[str]) -> str:
        place = match["machine"] or machine
        if match["name"] == "models":
            return match[1] + _report(place, results) + match[4]
        return match[1] + table(match["name"], load(place, results)) + match[4]

    return _BLOCK.sub(block, text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the benchmark tables of the README from the committed records.")
    parser.add_argument(
        "files", nargs="*", type=Path, help="Markdown files; by default README.md and docs/benchmarks.md"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table is out of date")
    parser.add_argument("--machine", help="folder under benchmarks/results; by default the one with the newest record")
    parser.add_argument("--results", type=Path, default=RESULTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    stale = []
    for file in options.files or [f for f in FILES if f.exists()]:
        try:
            old = file.read_text()
            new = rewrite(old, options.machine, options.results)
        except (OSError, TableError, ValueError) as error:
            print(f"tables: {file}: {error}", file=sys.stderr)
            return 1
        if new != old:
            stale.append(file)
            if not options.check:
                record.write_text(file, new)
    for file in stale:
        print(f"tables: {file} {'is out of date: run python benchmarks/tables.py' if options.check else 'written'}")
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
