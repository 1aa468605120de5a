"""What the configurations of all training runs share."""

from __future__ import annotations

from genfast._config import Config

PRECISIONS = ("float32", "bfloat16")


class RunConfig(Config):
    """The fields that every training run has."""

    steps: int
    batch_size: int
    warmup: int
    final_lr: float
    betas: tuple[float, float]
    clip: float | None
    ema_decay: float
    flips: bool
    precision: str
    seed: int

    def _check_run(self) -> None:
        self._check_pair("betas", 1.0)
        self._check_ints({"steps": self.steps, "batch_size": self.batch_size})
        self._check_ints({"warmup": self.warmup}, least=0)
        for name in ("final_lr", "ema_decay"):
            self._check_number(name, 1.0)
        if self.clip is not None and (not isinstance(self.clip, (int, float)) or not self.clip > 0):
            raise self._wrong("clip", "positive or None", self.clip)
        self._check_choice("precision", PRECISIONS)
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise self._wrong("seed", "an int", self.seed)

    def _check_pair(self, name: str, below: float) -> None:
        value = getattr(self, name)
        numbers = isinstance(value, (list, tuple)) and all(isinstance(number, (int, float)) for number in value)
        if not numbers or len(value) != 2 or not all(0 <= number < below for number in value):
            raise self._wrong(name, f"two numbers in [0, {below:g})", value)
        object.__setattr__(self, name, tuple(value))
