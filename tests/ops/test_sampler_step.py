"""sampler_step: what the registry's tests cannot state. Known solvers, direct calls, device counters, bad input."""

from __future__ import annotations

import pytest
import torch

import genfast
from genfast.ops.sampler_step.coefficients import WIDTH, Coefficient
from genfast.registry import ops

C = Coefficient


def table(steps: int = 3, **columns: float) -> torch.Tensor:
    values = torch.zeros(steps, WIDTH)
    values[:, C.CLAMP] = torch.inf
    for name, value in columns.items():
        values[:, C[name]] = value
    return values


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (2, 3, 8, 8)))


def test_is_ddim() -> None:
    """DDIM, eta = 0 (Song et al. 2021, eq. 12), against the formula as written."""
    x, eps = images(), images()
    a, a_next = 0.3, 0.6
    x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
    wanted = a_next**0.5 * x0 + (1 - a_next) ** 0.5 * eps
    row = table(A_X=a**-0.5, A_M=-(((1 - a) / a) ** 0.5), B_0=a_next**0.5, B_M=(1 - a_next) ** 0.5)
    torch.testing.assert_close(genfast.sampler_step(x, eps, row, 0).x, wanted, rtol=1e-5, atol=1e-5)


def test_noise_is_that_of_the_step() -> None:
    x = images()
    out = genfast.sampler_step(x, x, table(S=1.0), 2, seeds=5).x
    assert torch.equal(out, genfast.normal_noise(x.shape, 5, stream=genfast.Stream.STEP + 2))


def test_guidance_clamp_and_entry() -> None:
    x, cond, uncond = images(), images(), images()
    out = genfast.sampler_step(
        x, cond, table(A_M=1, CLAMP=0.5, GUIDANCE=3, B_0=1, E_0=2, E_X=1), 0, uncond=uncond, return_history=True
    )
    x0 = (uncond + 3 * (cond - uncond)).clamp(-0.5, 0.5)
    torch.testing.assert_close(out.x, x0)
    torch.testing.assert_close(out.history, 2 * x0 + x)
    assert out.model_input is None


def test_inpainting_keeps_the_known_region() -> None:
    x, known = images(), images()
    mask = torch.zeros_like(x)
    mask[..., :4] = 1
    out = genfast.sampler_step(x, x, table(B_X=2, K_0=1), 0, known=known, mask=mask, seeds=1).x
    assert torch.equal(out[..., 4:], known[..., 4:])
    torch.testing.assert_close(out[..., :4], 2 * x[..., :4])


def test_identity_row_keeps_bits() -> None:
    x, m = images(), images() * 1e3
    rows = torch.stack([table(B_X=1.0), table(A_X=1.0, A_M=2.0, B_0=1.0, S=1.0)], dim=1)
    out = genfast.sampler_step(x, m, rows, 1, seeds=3).x
    assert torch.equal(out[0], x[0])
    assert not torch.equal(out[1], x[1])


def test_device_counter_is_the_step() -> None:
    x, m, rows = images(), images(), torch.rand(5, WIDTH)
    for step in range(5):
        by_tensor = genfast.sampler_step(x, m, rows, torch.tensor([step]), seeds=1).x
        assert torch.equal(by_tensor, genfast.sampler_step(x, m, rows, step, seeds=1).x)


@pytest.mark.parametrize("sample", ops["sampler_step"].samples(torch.Generator().manual_seed(4)), ids=lambda s: s.label)
def test_direct_call_is_the_registered_op(sample) -> None:
    (x, m, rows, step, uncond, history, noise, seeds, stream, scale, threshold, known, mask, entry, dtype) = sample.args
    options = {
        "uncond": uncond, "history": history, "noise": noise, "seeds": seeds, "stream": stream, "model_scale": scale,
        "threshold": threshold, "known": known, "mask": mask, "return_history": entry, "model_input_dtype": dtype,
    }  # fmt: skip
    direct = genfast.sampler_step(x, m, rows, step, **options)
    registered = ops["sampler_step"].overload(*sample.args)
    assert torch.equal(direct.x, registered[0])
    assert direct.x.stride() == registered[0].stride()
    assert (direct.history is None) == (not entry)
    assert direct.history is None or torch.equal(direct.history, registered[1])
    assert direct.model_input is None or torch.equal(direct.model_input, registered[2])


def test_strided_input_is_read_as_it_is() -> None:
    base = images(2, 6, 8, 8)
    x, m = base[:, ::2], images()
    assert torch.equal(
        genfast.sampler_step(x, m, table(B_X=1, B_M=1), 0).x,
        genfast.sampler_step(x.contiguous(), m, table(B_X=1, B_M=1), 0).x,
    )


def test_gradient_flows_through_a_step() -> None:
    x = images().requires_grad_()
    genfast.sampler_step(x, x * 2, table(B_X=3, B_M=0.5), 0).x.sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 4.0))


def test_int_seeds_are_seeds_per_sample() -> None:
    x = images(4, 1, 5, 5)
    whole = genfast.sampler_step(x, x, table(B_X=1, S=1), 1, seeds=10).x
    alone = [genfast.sampler_step(x[b : b + 1], x[b : b + 1], table(B_X=1, S=1), 1, seeds=10 + b).x for b in range(4)]
    assert torch.equal(whole, torch.cat(alone))


BAD = [
    ({"model_output": torch.zeros(2, 3, 8, 7)}, ValueError, r"model_output must have the shape of x, \[2, 3, 8, 8\]"),
    ({"model_output": torch.zeros(2, 3, 8, 8).int()}, TypeError, "model_output must be a floating point tensor"),
    ({"x": [1.0]}, TypeError, "x must be a tensor, got list"),
    ({"coefficients": torch.zeros(3, 5)}, ValueError, r"coefficients must be \[steps, 17\]"),
    ({"coefficients": torch.zeros(3, 7, WIDTH)}, ValueError, "coefficients must be"),
    ({"coefficients": torch.zeros(3, WIDTH).double()}, TypeError, "coefficients must be torch.float32"),
    ({"step": 3}, ValueError, r"step must be in \[0, 3\), the rows of coefficients, got 3"),
    ({"step": -1}, ValueError, "step must be in"),
    ({"step": 1.0}, TypeError, "step must be an int"),
    ({"step": torch.tensor([1, 2])}, TypeError, "step must be"),
    ({"uncond": torch.zeros(2, 3, 8, 8).half()}, TypeError, "uncond must have the dtype of model_output"),
    ({"history": [torch.zeros(2, 3, 8, 8)] * 5}, ValueError, "history must hold at most 4 tensors, got 5"),
    ({"history": [torch.zeros(2, 3, 8)]}, ValueError, r"history\[0\] must have the shape"),
    ({"seeds": 1, "noise": torch.zeros(2, 3, 8, 8)}, ValueError, "seeds or noise, not both"),
    ({"seeds": [1, 2, 3]}, ValueError, "seeds must hold 2 seeds"),
    ({"model_scale": torch.ones(3)}, ValueError, "model_scale must be"),
    ({"known": torch.zeros(2, 3, 8, 8)}, ValueError, "known and mask go together"),
    ({"model_input_dtype": torch.int8}, TypeError, "model_input_dtype must be a floating point dtype"),
    ({"stream": 2**33}, ValueError, "stream must be in"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_arguments(change, error, words: str) -> None:
    arguments = {"x": images(), "model_output": images(), "coefficients": table(), "step": 0, **change}
    with pytest.raises(error, match=f"^sampler_step: .*{words}"):
        genfast.sampler_step(**arguments)
