"""Ways to call an op that are easy to get wrong past PyTorch's dispatcher: odd tensors, tracers, threads."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
import torch._dynamo.testing
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad

import genfast
from genfast.ops.sampler_step.coefficients import WIDTH

BACKEND = importlib.import_module("genfast.backend")  # the attribute of that name is a function


@pytest.fixture(params=["direct", "checked"])
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With and without the calls that hand tensors to the native library as they are."""
    if request.param == "checked":
        monkeypatch.setattr(BACKEND, "_direct_calls", False)
    yield request.param


def test_both_ways_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    x, rows = torch.randn(3, 2, 9, 7), torch.rand(2, 3, WIDTH)

    def everything() -> list[torch.Tensor]:
        step = genfast.sampler_step(
            x, x, rows, 1, history=[x], seeds=[4, 5, 6], model_scale=0.5, threshold=torch.rand(3, 1, 1, 1) * 0 + 2,
            return_history=True, model_input_dtype=torch.float16,
        )  # fmt: skip
        noise = genfast.normal_noise((3, 5), 7, dtype=torch.bfloat16), genfast.uniform_noise((3, 5), [1, 2, 3])
        return [*step, *noise, genfast.add_noise(x, 0.5, 0.25, seeds=2), genfast.diffusion_loss(x, x, 1, 0.5, seeds=2)]

    direct = everything()
    monkeypatch.setattr(BACKEND, "_direct_calls", False)
    assert all(torch.equal(a, b) for a, b in zip(direct, everything(), strict=True))


def test_levels_of_a_step_may_be_strided(calls: str) -> None:
    x, rows = torch.randn(3, 4), torch.rand(1, WIDTH)
    scale, limit = torch.rand(3, 5) + 0.5, torch.tensor([1.5]).expand(3)
    strided = genfast.sampler_step(x, x, rows, 0, model_scale=scale[:, 0], threshold=limit).x
    dense = genfast.sampler_step(x, x, rows, 0, model_scale=scale[:, 0].clone(), threshold=limit.clone()).x
    assert torch.equal(strided, dense)


def test_tensors_without_memory(calls: str) -> None:
    zeros = torch._efficientzerotensor((2, 3))
    assert torch.equal(genfast.add_noise(zeros, 1.0, 0.0, seeds=0), torch.zeros(2, 3))
    with FakeTensorMode():
        mask = torch.ones(2, 3)
    x = torch.ones(2, 3)
    with pytest.raises(Exception, match=r"[Ff]ake"):
        genfast.sampler_step(x, x, torch.ones(1, WIDTH), 0, known=x, mask=mask)
    with FakeTensorMode():
        assert isinstance(genfast.normal_noise((2, 3), 0), FakeTensor)


def test_a_step_on_the_cpu_is_checked(calls: str) -> None:
    x, rows = torch.ones(2, 3), torch.ones(4, WIDTH)
    for step in (-1, 4, 2**40):
        with pytest.raises(ValueError, match=r"sampler_step: step must be in \[0, 4\)"):
            genfast.sampler_step(x, x, rows, torch.tensor([step]))


def test_truth_of_return_history(calls: str) -> None:
    x = torch.ones(2, 3)
    assert genfast.sampler_step(x, x, torch.ones(1, WIDTH), 0, return_history=1).history is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [1.5, "a", None, True])
def test_stream_is_an_int(calls: str, stream: object) -> None:
    with pytest.raises(TypeError, match="normal_noise: stream must be an int, got"):
        genfast.normal_noise((2, 3), 0, stream=stream)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"history": None}, "history must be a list or tuple of tensors, got NoneType"),
        ({"threshold": "high"}, "threshold must be a number or a tensor, got str"),
    ],
)
def test_bad_arguments_of_a_step(calls: str, change: dict, words: str) -> None:
    x = torch.ones(2, 3)
    with pytest.raises(TypeError, match=f"sampler_step: {words}"):
        genfast.sampler_step(x, x, torch.ones(1, WIDTH), 0, **change)


@pytest.mark.parametrize("seeds", [7, [1, 2, 3], torch.tensor([1, 2, 3])], ids=["int", "list", "tensor"])
def test_compiled_whole_from_the_public_functions(seeds: genfast.random.Seeds) -> None:
    rows = torch.rand(4, WIDTH)

    def everything(x: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        step = genfast.sampler_step(x, x, rows, 1, seeds=seeds, threshold=2.0, return_history=True)
        noisy = genfast.add_noise(x, 0.5, 0.25, seeds=seeds)
        loss = genfast.diffusion_loss(x.half(), x, 0.6, 0.8, seeds=seeds, target="v", weight="min_snr")
        return *step[:2], noisy, loss, genfast.normal_noise(x.shape, seeds)

    compiled = torch.compile(everything, fullgraph=True, backend="eager", dynamic=True)
    for width in (4, 6):
        x = torch.randn(3, 2, width)
        assert all(torch.equal(a, b) for a, b in zip(everything(x), compiled(x), strict=True))


def test_traced_by_torch_jit() -> None:
    with pytest.warns(DeprecationWarning):
        traced = torch.jit.trace(lambda x: genfast.add_noise(x, 0.5, 0.25, seeds=1), torch.ones(2, 3))
    x = torch.randn(2, 3)
    assert torch.equal(traced(x), genfast.add_noise(x, 0.5, 0.25, seeds=1))


def test_forward_mode_is_refused_but_to_torch_func() -> None:
    x = torch.randn(2, 3)
    value, along = torch.func.jvp(lambda x: genfast.add_noise(x, 0.5, 0.25, seeds=1), (x,), (x,))
    assert torch.equal(value, genfast.add_noise(x, 0.5, 0.25, seeds=1)) and torch.equal(along, 0.5 * x)
    with forward_ad.dual_level():
        assert torch.equal(genfast.add_noise(x, 1.0, 0.0, seeds=1), x)  # nothing to derive
        with pytest.raises(NotImplementedError, match="sampler_step: has no forward-mode derivative"):
            genfast.sampler_step(x, x, torch.ones(1, WIDTH), 0, history=[forward_ad.make_dual(x, x)])


def test_vmap_is_a_loop() -> None:
    x = torch.randn(4, 1, 3)
    wanted = torch.stack([genfast.add_noise(sample, 0.5, 0.25, seeds=1) for sample in x])
    assert torch.equal(torch.vmap(lambda x: genfast.add_noise(x, 0.5, 0.25, seeds=1))(x), wanted)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts the threads of the process")
def test_other_threads_use_as_many_threads_as_torch() -> None:
    """torch.set_num_threads reaches a thread's OpenMP settings late: at torch's first parallel work there."""
    counts = []

    def work() -> None:
        before = len(os.listdir("/proc/self/task"))
        genfast.normal_noise((1, 1 << 20), 0)
        counts.append(len(os.listdir("/proc/self/task")) - before)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(threads)
    assert counts == [0]


def test_unknown_instruction_set() -> None:
    """It must not fall back to plain PyTorch, as where nothing was built."""
    environment = {**os.environ, "GENFAST_CPU_ISA": "avx99"}
    done = subprocess.run([sys.executable, "-c", "import genfast"], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "ValueError: GENFAST_CPU_ISA: expected one that this build and this processor have" in done.stderr


def test_another_seed_or_stream_compiles_no_other_graph() -> None:
    counter = torch._dynamo.testing.CompileCounter()

    def step(x, rows, seed, stream):
        noised = genfast.add_noise(x, 0.5, 0.5, seeds=seed, stream=stream)
        return genfast.sampler_step(noised, x, rows, 1, seeds=seed, stream=stream).x

    compiled = torch.compile(step, fullgraph=True, backend=counter)
    x, rows = torch.randn(2, 3, 4, 4), torch.rand(3, 17)
    for k in range(10):
        assert torch.equal(compiled(x, rows, 100 + 7 * k, 1000 + 3 * k), step(x, rows, 100 + 7 * k, 1000 + 3 * k))
    assert counter.frame_count <= 2  # one with constants, and one for all other numbers


def test_a_signature_tells_tensors_apart() -> None:
    signature = BACKEND.native.signature
    x = torch.zeros(2, 3, 4, 4)
    different = [
        (x, x, None, None), (x, None, x, None), (x, None, None, None), (x.half(), x, None, None),
        (x.contiguous(memory_format=torch.channels_last), x, None, None), (x[:1], x, None, None), (x, x[0], None, None),
    ]  # fmt: skip
    keys = [signature(True, *tensors) for tensors in different]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert signature(True, torch.ones_like(x), x, None, None) == keys[0]
    wanted = torch.zeros(2, requires_grad=True)
    assert signature(True, wanted, None, None, None) is None
    assert signature(False, wanted, None, None, None) is not None
    for other in (1, torch._efficientzerotensor((2,)), torch.zeros(2, device="meta"), torch.zeros(2).to_sparse()):
        assert signature(True, other, None, None, None) is None


BATCHED = {
    "bias_act": lambda x: genfast.bias_act(x, act="silu"),
    "conv2d_act": lambda x: genfast.conv2d_act(x, torch.ones(4, 8, 3, 3), padding=1),
    "gan_loss": lambda x: genfast.gan_loss(x, x),
    "gaussian_kl": lambda x: genfast.gaussian_kl(x, x, 0).z,
    "group_norm_act": lambda x: genfast.group_norm_act(x, 2),
    "linear_act": lambda x: genfast.linear_act(x, torch.ones(4, 8)),
    "reconstruction_loss": lambda x: genfast.reconstruction_loss(x, torch.zeros_like(x)),
}


@pytest.mark.parametrize("op", BATCHED)
def test_gradients_may_come_in_batches(op: str) -> None:
    """Values of a batched gradient lie at no address: a kernel that is handed one fails or reads what is not there."""
    x = torch.randn(3, 8, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grads = torch.randn(2, *BATCHED[op](x).shape, generator=torch.Generator().manual_seed(1))
    (together,) = torch.autograd.grad(BATCHED[op](x), x, grads, is_grads_batched=True)
    apart = torch.stack([torch.autograd.grad(BATCHED[op](x), x, grad)[0] for grad in grads])
    torch.testing.assert_close(together, apart)
