"""How a command ends that cannot do what was asked."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import typer
from typer import Option

P = ParamSpec("P")


def fail(message: object, code: int) -> typer.Exit:
    print(f"genfast: {str(message).strip() or type(message).__name__}", file=sys.stderr)
    return typer.Exit(code)


def plainly(command: Callable[P, None]) -> Callable[P, None]:
    """End on the errors that a user can cause with one line on stderr; others are bugs and keep their traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        from torch import OutOfMemoryError

        from genfast.training import TrainingDiverged

        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (ValueError, ImportError, OSError, TrainingDiverged, OutOfMemoryError) as error:
            raise fail(error, 1) from None
        except (MemoryError, RuntimeError) as error:
            # The CPU's allocator has no error of its own.
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                raise fail(f"out of memory: {error}", 1) from None
            raise
        except KeyboardInterrupt:
            raise fail("interrupted", 130) from None

    return wrapped


def usage(check: Callable[[], Any]) -> Any:
    """The value of ``check``; what it objects to is a mistake in the arguments: exit code 2."""
    try:
        return check()
    except (TypeError, ValueError, RuntimeError) as error:
        raise fail(error, 2) from None


Device = Annotated[str, Option(help="cpu or cuda")]
