"""No stale weight is ever used, and no pack outlives its weight."""

from __future__ import annotations

import copy
import gc
import io
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genfast import conv2d_act, tuning
from genfast.ops._conv import weights

PACKING = ("onednn", "winograd_2x2", "general")


class Layer(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return conv2d_act(x, self.weight, self.bias, padding=1)


@pytest.fixture(params=PACKING)
def layer(request: pytest.FixtureRequest) -> Iterator[Layer]:
    with tuning.pinned(request.param):
        yield Layer(24, 40, 3, padding=1).requires_grad_(False)


@pytest.fixture
def x(generator: torch.Generator) -> Tensor:
    return torch.randn(2, 24, 12, 12, generator=generator).contiguous(memory_format=torch.channels_last)


def expected(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return F.silu(F.conv2d(x, layer.weight, layer.bias, padding=1))


def agrees(layer: nn.Conv2d, x: Tensor) -> None:
    dtype = layer.weight.dtype
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(layer(x.to(dtype)), expected(layer, x.to(dtype)), rtol=tolerance, atol=tolerance)


def optimizer_step(layer: nn.Conv2d) -> None:
    layer.requires_grad_(True)
    layer.weight.grad = torch.ones_like(layer.weight)
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    layer.requires_grad_(False)


def write_through_numpy(layer: nn.Conv2d) -> None:
    layer.weight.detach().numpy()[3, 2, 1, 0] = 7.0


def swap_memory(layer: nn.Conv2d) -> None:
    # Back at the same address, with other values.
    before = layer.weight.data
    layer.weight.data = before.clone()
    before.mul_(-1)
    layer.weight.data = before


CHANGES: dict[str, Callable[[nn.Conv2d], object]] = {
    "optimizer step": optimizer_step,
    "load_state_dict": lambda layer: layer.load_state_dict(Layer(24, 40, 3, padding=1).state_dict()),
    "copy_": lambda layer: layer.weight.copy_(torch.randn_like(layer.weight)),
    "one element": lambda layer: layer.weight[1, 2, 0, 0].fill_(3.0),
    "LoRA merged in place": lambda layer: layer.weight.add_(
        (torch.randn(40, 4) @ torch.randn(4, 216)).view(40, 24, 3, 3)
    ),
    "merged through .data": lambda layer: layer.weight.data.add_(torch.randn_like(layer.weight)),
    "clipped through .data": lambda layer: layer.weight.data.clamp_(-0.01, 0.01),
    "new .data": lambda layer: setattr(layer.weight, "data", torch.randn_like(layer.weight)),
    "new .data at the old address": swap_memory,
    "new parameter": lambda layer: setattr(layer, "weight", nn.Parameter(torch.randn_like(layer.weight))),
    "NumPy": write_through_numpy,
    "bfloat16": lambda layer: layer.to(torch.bfloat16),
    "channels_last": lambda layer: layer.to(memory_format=torch.channels_last).weight.mul_(2),
    "bias": lambda layer: layer.bias.add_(1),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_is_used(layer: Layer, x: Tensor, change: str) -> None:
    agrees(layer, x)
    agrees(layer, x)
    before = expected(layer, x)
    CHANGES[change](layer)
    assert not torch.equal(before, expected(layer, x.to(layer.weight.dtype)).float())
    agrees(layer, x)
    agrees(layer, x)


def test_a_bias_of_half_precision_is_followed(x: Tensor) -> None:
    layer = Layer(24, 40, 3, padding=1).requires_grad_(False).to(torch.bfloat16)
    for _ in range(3):
        agrees(layer, x)
        layer.bias.data.add_(1)


@pytest.mark.parametrize("duplicate", ["deepcopy", "pickle"])
def test_copies_share_nothing(layer: Layer, x: Tensor, duplicate: str) -> None:
    agrees(layer, x)
    if duplicate == "deepcopy":
        twin = copy.deepcopy(layer)
    else:
        file = io.BytesIO()
        torch.save(layer, file)
        twin = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
        assert len(file.getvalue()) < 2 * layer.weight.nbytes
    agrees(twin, x)
    twin.weight.mul_(3)
    agrees(twin, x)
    agrees(layer, x)


def test_large_weights_are_checked_in_turns(generator: torch.Generator) -> None:
    weight = nn.Parameter(torch.randn(256, 256, 3, 3, generator=generator), requires_grad=False)
    kept = weights.packed(weight, "key", Tensor.clone)
    assert weights.find(weight, "key") is kept
    weight.data[100, 100, 1, 1] = 5.0
    turns = 1 + weight.nbytes // (1 << 16)
    assert any(weights.find(weight, "key") is None for _ in range(turns))
    weight.data.mul_(1.001)
    assert weights.find(weight, "key") is None


def test_inference_tensors_are_never_remembered() -> None:
    with torch.inference_mode():
        weight = torch.randn(4, 4)
        before = weights.count()
        first = weights.packed(weight, "key", Tensor.clone)
        weight.mul_(2)
        assert torch.equal(weights.packed(weight, "key", Tensor.clone), first * 2)
        assert weights.count() == before and not weights.is_kept(weight)


def test_dead_weights_free_their_packs(layer: Layer, x: Tensor) -> None:
    gc.collect()
    before = weights.count()
    for _ in range(5):
        fresh = Layer(24, 40, 3, padding=1).requires_grad_(False)
        fresh(x)
    assert weights.count() == before + 1
    del fresh
    gc.collect()
    assert weights.count() == before


def test_many_sizes_keep_few_packs(layer: Layer, generator: torch.Generator) -> None:
    for size in range(6, 16):
        agrees(layer, torch.randn(1, 24, size, size, generator=generator))
    entry = weights._entries[id(layer.weight)]
    assert len(entry.packs) <= weights._MOST_PACKS


def test_a_pack_that_is_the_weight_does_not_keep_it_alive() -> None:
    before = weights.count()
    weight = torch.randn(3, 3)
    assert weights.packed(weight, "key", lambda w: w.view(9)).data_ptr() == weight.data_ptr()
    del weight
    gc.collect()
    assert weights.count() == before


def test_forgetting() -> None:
    weight = torch.randn(3, 3)
    first = weights.packed(weight, "key", Tensor.clone)
    assert weights.find(weight, "key") is first
    weights.forget_packed(weight)
    assert weights.find(weight, "key") is None
    weights.packed(weight, "key", Tensor.clone)
    weights.forget_packed()
    assert weights.count() == 0


def test_threads_see_their_own_weights(layer: Layer, generator: torch.Generator) -> None:
    x = torch.randn(1, 24, 12, 12, generator=generator)
    layers = [copy.deepcopy(layer) for _ in range(4)]
    for index, one in enumerate(layers):
        one.weight.mul_(index + 1)
    failures: list[BaseException] = []

    def work(one: Layer) -> None:
        try:
            for _ in range(20):
                one.weight.mul_(1.01)
                agrees(one, x)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_what_another_stream_packs_is_packed_anew_and_a_captured_pack_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight, made = nn.Parameter(torch.ones(4)), []

    def pack(w: Tensor) -> Tensor:
        made.append(w.clone())
        return made[-1]

    for stream, count in (((1, 0), 1), ((1, 0), 1), ((2, 0), 2), ((1, 0), 2), (weights._CAPTURED, 3), ((2, 0), 3)):
        monkeypatch.setattr(weights, "_stream", lambda w, stream=stream: stream)
        found = weights.packed(weight, "key", pack)
        assert len(made) == count and torch.equal(found, weight)
        assert (weights.find(weight, "key") is None) == (stream == weights._CAPTURED)
