"""``python -m genfast.bench``: the command where typer is not installed."""

from __future__ import annotations

import argparse
import sys

from genfast.bench import main, names


def run(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="genfast.bench", description=main.__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--suite", default="all", choices=names())
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds: minutes instead of an hour")
    parser.add_argument("--json", metavar="FILE", help="append the records, as JSON lines")
    parser.add_argument("--report", metavar="DIR", help="write records, Markdown and plots")
    parser.add_argument("--device", help="cpu or cuda; by default the GPU if there is one")
    parser.add_argument("--threads", type=int, help="CPU threads")
    try:
        return main(**vars(parser.parse_args(arguments)))
    except (ValueError, OSError) as error:
        print(f"genfast.bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(run())
