from __future__ import annotations

import json
import math

import pytest

from genfast.training import TrainingConfig


def test_learning_rate_warms_up_and_decays_as_half_a_cosine():
    config = TrainingConfig(steps=30, warmup=10, lr=2.0, final_lr=0.1)
    assert [config.lr_at(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert config.lr_at(10) == pytest.approx(2.0)
    assert config.lr_at(20) == pytest.approx(2.0 * (0.1 + 0.9 / 2))
    assert config.lr_at(29) == pytest.approx(2.0 * (0.1 + 0.45 * (1 + math.cos(math.pi * 19 / 20))))
    assert config.lr_at(1000) == pytest.approx(0.2)


def test_config_round_trips_through_json():
    config = TrainingConfig(weight="min_snr", clip=None, betas=(0.8, 0.9))
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0), ("batch_size", 0), ("batch_size", 2.0), ("warmup", -1), ("lr", -1.0), ("lr", math.nan),
        ("lr", math.inf), ("final_lr", 2.0), ("betas", (0.9,)), ("betas", (0.9, 1.0)), ("betas", None),
        ("betas", ("a", "b")), ("clip", 0.0), ("clip", "1"),
        ("target", "score"), ("weight", "snr"), ("label_dropout", 1.5), ("ema_decay", -0.1), ("precision", "float16"),
        ("seed", 1.5),
    ],
)  # fmt: skip
def test_bad_value_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"TrainingConfig: {field} must be"):
        TrainingConfig(**{field: value})


def test_unknown_field_is_refused():
    with pytest.raises(ValueError, match=r"unknown fields \['epochs'\]"):
        TrainingConfig.from_dict({"epochs": 3})
