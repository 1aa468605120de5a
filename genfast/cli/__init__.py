"""The command ``genfast``. What it does is done by functions of the package; here is only how it is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments``, by default those of the process, and return its exit code.

    Without the packages that the command line needs it does nothing but ``info``.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        if given == ["info"]:
            from genfast.cli.info import show

            show()
            return 0
        print("genfast: the command line needs typer and rich: pip install genfast[cli]", file=sys.stderr)
        return 1
    from genfast.cli.app import run

    return run(None if arguments is None else list(arguments))
