"""The generator: Random123's known answer, and counters past 32 bits."""

import torch
import triton
import triton.language as tl

from genfast.ops._triton import philox


@triton.jit
def _philox_kernel(quad, out, stream: tl.int64, seed: tl.int64, N: tl.constexpr):
    i = tl.arange(0, N)
    words = philox(tl.load(quad + i), stream.to(tl.int64), seed.to(tl.int64))
    for k in tl.static_range(4):
        tl.store(out + i * 4 + k, words[k].to(tl.int64))


def words(quads, stream, seed):
    out = torch.empty(len(quads), 4, dtype=torch.int64)
    _philox_kernel[(1,)](torch.tensor(quads), out, stream, seed, len(quads))
    return out


def test_known_answer():
    # Random123 1.14, kat_vectors: philox4x32 10, counter 0, key 0.
    assert [hex(w) for w in words([0], 0, 0)[0].tolist()] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


def rounds(counter, key):
    """Philox4x32-10 in Python integers."""
    mask = 2**32 - 1
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = p1 >> 32 ^ c1 ^ k0, p1 & mask, p0 >> 32 ^ c3 ^ k1, p0 & mask
        k0, k1 = k0 + 0x9E3779B9 & mask, k1 + 0xBB67AE85 & mask
    return [c0, c1, c2, c3]


def test_large_counters_seeds_and_streams():
    quads = [1, 2**32 - 1, 2**32, 2**33 + 5, 3, 4, 5, 6]
    for stream, seed in ((0, 1), (2**32 - 1, -1), (2**31, -(2**63)), (77, 2**40 + 3)):
        key = seed % 2**32, seed // 2**32 % 2**32
        counters = [(q % 2**32, (q // 2**32 + stream) % 2**32, 0, 0) for q in quads]
        assert words(quads, stream, seed).tolist() == [rounds(counter, key) for counter in counters]
