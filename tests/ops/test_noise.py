"""Counter-based noise: known answers, distribution, and the independence of batch, layout and thread."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genfast
from genfast.backend import native
from genfast.ops import _exact
from genfast.ops.normal_noise.reference import normal_noise_float64

FUNCTIONS = (genfast.normal_noise, genfast.uniform_noise)


# Random123's kat_vectors for philox4x32 with 10 rounds: those whose upper counter words are 0.
def test_known_answer_of_philox() -> None:
    words = _exact.philox_words(torch.tensor([0]), 0, 4)
    assert [f"{int(w):08x}" for w in words[0]] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 straight from the paper, in Python's integers."""
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF, (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_of_the_oracle(counter: list[int], key: list[int], answer: str) -> None:
    assert " ".join(f"{w:08x}" for w in philox(counter, key)) == answer


@given(
    seed=st.integers(0, 2**64 - 1),
    stream=st.integers(0, 2**32 - 1),
    element=st.integers(0, 4000),
)
@settings(deadline=None, max_examples=60)
def test_every_element_is_its_word(seed: int, stream: int, element: int) -> None:
    counter = (stream << 32) + element // 4
    word = philox([counter & 0xFFFFFFFF, counter >> 32, 0, 0], [seed & 0xFFFFFFFF, seed >> 32])[element % 4]
    noise = genfast.uniform_noise((1, element + 1), seed, stream=stream)
    assert noise[0, element].item() == (word >> 8) / 2**24


def test_normal_is_close_to_float64() -> None:
    seeds = torch.arange(4)
    error = (genfast.normal_noise((4, 500_000), seeds).double() - normal_noise_float64(seeds, 0, 500_000)).abs()
    assert error.max() < 1e-6


def test_distribution() -> None:
    z = genfast.normal_noise((1, 4_000_000), 12345).double()
    assert abs(z.mean()) < 4 / 2000
    assert abs(z.var() - 1) < 4 * math.sqrt(2) / 2000
    assert abs((z**3).mean()) < 4 * math.sqrt(15) / 2000
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96) / 2000
    assert 4.5 < z.abs().max() < 6.7
    u = genfast.uniform_noise((1, 1_000_000), 7)
    assert u.min() >= 0 and u.max() < 1
    histogram = torch.histc(u, 64, 0, 1)
    chi_squared = ((histogram - 1e6 / 64) ** 2 / (1e6 / 64)).sum()
    assert 30 < chi_squared < 110


def test_streams_and_seeds_are_uncorrelated() -> None:
    z = torch.stack([genfast.normal_noise((2, 100_000), 3, stream=s).flatten() for s in (0, 1, genfast.Stream.STEP)])
    correlation = torch.corrcoef(z) - torch.eye(3)
    assert correlation.abs().max() < 0.015
    a, b = genfast.normal_noise((2, 100_000), 3)
    assert abs((a * b).mean()) < 0.015


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("isa", native.isas())
def test_a_batch_is_its_samples(function, isa: str) -> None:
    before = native.isa()
    native.set_isa(isa)
    try:
        whole = function((8, 3, 13, 9), 100)
        alone = torch.cat([function((1, 3, 13, 9), 100 + b) for b in range(8)])
        split = torch.cat([function((3, 3, 13, 9), 100), function((5, 3, 13, 9), [103, 104, 105, 106, 107])])
    finally:
        native.set_isa(before)
    assert torch.equal(whole, alone) and torch.equal(whole, split)


@given(shape=st.tuples(*[st.integers(1, 40)] * 4), seed=st.integers(-(2**63), 2**63 - 1))
@settings(deadline=None, max_examples=40)
def test_memory_format_changes_strides_alone(shape: tuple[int, ...], seed: int) -> None:
    dense = genfast.normal_noise(shape, seed)
    last = genfast.normal_noise(shape, seed, memory_format=torch.channels_last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(dense, last)


@given(numel=st.integers(1, 5000), fewer=st.integers(1, 5000))
@settings(deadline=None, max_examples=40)
def test_a_shorter_sample_is_a_prefix(numel: int, fewer: int) -> None:
    fewer = min(fewer, numel)
    assert torch.equal(genfast.normal_noise((1, numel), 5)[:, :fewer], genfast.normal_noise((1, fewer), 5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_round_the_float32_values(dtype: torch.dtype) -> None:
    assert torch.equal(genfast.normal_noise((2, 999), 1, dtype=dtype), genfast.normal_noise((2, 999), 1).to(dtype))


def test_ways_to_give_seeds() -> None:
    wanted = genfast.normal_noise((3, 50), 2**64 - 1)
    assert torch.equal(wanted, genfast.normal_noise((3, 50), [2**64 - 1, 0, 1]))
    assert torch.equal(wanted, genfast.normal_noise((3, 50), torch.tensor([-1, 0, 1])))
    assert torch.equal(wanted, genfast.normal_noise([3, 50], -1, device=torch.device("cpu")))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (((2, 3), [1]), ValueError, "seeds must hold 2 seeds, one per sample, got 1"),
        (((2, 3), 1.5), TypeError, "seeds must be an int"),
        (((2, 3), True), TypeError, "got bool"),
        (((2, 3), ["a", "b"]), TypeError, "every seed must be an int, got str"),
        (((2, 3), torch.tensor([1, 2], dtype=torch.int32)), TypeError, "int64 tensor, got torch.int32"),
        (((2, 3), torch.tensor([1])), ValueError, r"shape \[2\]"),
        (((-1, 3), 0), ValueError, "no negative entry"),
        ((5, 0), TypeError, "size must be a sequence of ints, got int"),
        ((("2", 3), 0), ValueError, r"size must be \[B, ...\], ints"),
        (((), 0), ValueError, r"size must be \[B, ...\]"),
    ],
)
def test_bad_arguments(function, arguments, error, words: str) -> None:
    with pytest.raises(error, match=f"^{function.__name__}: .*{words}"):
        function(*arguments)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"stream": -1}, ValueError, "stream must be in"),
        ({"stream": 2**32}, ValueError, "stream must be in"),
        ({"dtype": torch.int32}, TypeError, "dtype must be float32"),
        ({"memory_format": torch.channels_last}, ValueError, "does not fit a size of 2 dimensions"),
    ],
)
def test_bad_options(options, error, words: str) -> None:
    with pytest.raises(error, match=f"normal_noise: .*{words}"):
        genfast.normal_noise((2, 3), 0, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that must be absent")
def test_cuda_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="no CUDA device is present"):
        genfast.normal_noise((2, 3), 0, device="cuda")


def test_ways_to_name_the_cpu() -> None:
    seeds = torch.tensor([1, 2])
    assert torch.equal(genfast.normal_noise((2, 3), seeds, device="cpu:0"), genfast.normal_noise((2, 3), seeds))
    for device in ("abacus", None):
        with pytest.raises(ValueError, match=r"normal_noise: device must be a torch.device or its name"):
            genfast.normal_noise((2, 3), seeds, device=device)  # type: ignore[arg-type]
