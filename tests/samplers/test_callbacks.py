"""What a callback may change."""

from __future__ import annotations

import pytest
import torch

import genfast

SHAPE = (2, 1, 6, 6)


@pytest.mark.parametrize("name", ["dpmpp_2m", "euler"])
@pytest.mark.parametrize("model_dtype", [torch.float32, torch.bfloat16])
def test_callbacks_may_set_the_state(name, model_dtype):
    """The model sees what was assigned, also where its input is another tensor than the state."""
    sampler, inputs = genfast.Sampler(name, "cosine"), []

    def look(x, t):
        inputs.append(x)
        return torch.tanh(x)

    def run(edit):
        inputs.clear()
        return sampler.sample(look, SHAPE, steps=[3, 4], callback=edit, model_dtype=model_dtype), list(inputs)

    def copy(step):
        step.x = step.x.clone()

    def clear(step):
        if step.index == 1:
            step.x = torch.zeros_like(step.x)

    left, seen = run(None)
    copied, seen_copied = run(copy)
    assert torch.equal(left, copied)
    assert all(torch.equal(a, b) for a, b in zip(seen, seen_copied, strict=True))
    _, seen = run(clear)
    assert [bool(x.any()) for x in seen[:3]] == [True, True, False]


def test_callbacks_cannot_change_the_shape():
    def crop(step):
        step.x = step.x[..., 1:]

    with pytest.raises(ValueError, match=r"Step.x must stay a tensor \[2, 1, 6, 6\]"):
        genfast.Sampler("ddim", "cosine").sample(lambda x, t: x, SHAPE, steps=2, callback=crop)
