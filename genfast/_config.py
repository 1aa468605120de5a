"""What the configurations share: their checks, and the way to JSON and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self


class Config:
    """The base of a frozen dataclass whose fields are JSON types; an error begins with the subclass's name."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`. Raises ValueError for an unknown field."""
        known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"{cls.__name__}: unknown fields {unknown}, expected some of {known}")
        return cls(**values)

    @classmethod
    def from_json(cls, path: str | Path) -> Self:
        """:meth:`from_dict` of a JSON file. Raises ValueError for a file that holds no such object."""
        try:
            values = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{cls.__name__}: cannot read {path}: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"{cls.__name__}: {path} must hold a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    def _wrong(self, name: str, expected: str, value: object) -> ValueError:
        return ValueError(f"{type(self).__name__}: {name} must be {expected}, got {value!r}")

    def _check_ints(self, values: Mapping[str, object], least: int = 1) -> None:
        for name, value in values.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise self._wrong(name, "a positive int" if least == 1 else f"an int of at least {least}", value)

    def _check_ints_if_given(self, *names: str) -> None:
        self._check_ints({name: getattr(self, name) for name in names if getattr(self, name) is not None})

    def _check_number(self, name: str, most: float = math.inf) -> None:
        value = getattr(self, name)
        if not isinstance(value, (int, float)) or not 0 <= value <= most or math.isinf(value):
            raise self._wrong(name, f"a number in [0, {most}]", value)

    def _check_choice(self, name: str, known: Sequence[str | None]) -> None:
        value = getattr(self, name)
        if value not in known:
            raise self._wrong(name, f"one of {', '.join(map(str, known))}", value)

    def _make_tuple(self, *names: str) -> None:
        """The fields ``names`` as tuples: JSON has lists."""
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)):
                raise self._wrong(name, "a list of ints", value)
            object.__setattr__(self, name, tuple(value))
