"""Philox4x32-10 and the draws made from it, written after the paper and not after the engine: a second witness.

Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

import numpy as np

WORD = 0xFFFFFFFF


def philox4x32(counters: np.ndarray, key0: int, key1: int) -> np.ndarray:
    """Four 32-bit words for each 64-bit counter: [n] -> [n, 4]."""
    counters = np.asarray(counters, dtype=np.uint64)
    mask, shift = np.uint64(WORD), np.uint64(32)
    c0, c1 = counters & mask, counters >> shift
    c2, c3 = np.zeros_like(c0), np.zeros_like(c0)
    for round_number in range(10):
        k0 = np.uint64((key0 + round_number * 0x9E3779B9) & WORD)
        k1 = np.uint64((key1 + round_number * 0xBB67AE85) & WORD)
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ k0, p1 & mask, (p0 >> shift) ^ c3 ^ k1, p0 & mask
    return np.stack([c0, c1, c2, c3], axis=-1)  # [n, 4]


def mix(value: int) -> int:
    """Finalizer of MurmurHash3."""
    value ^= value >> 16
    value = value * 0x85EBCA6B & WORD
    value ^= value >> 13
    value = value * 0xC2B2AE35 & WORD
    return value ^ value >> 16


def key_of(seed: int, name: str) -> tuple[int, int]:
    """The key of a named tensor: FNV-1a of its name from two offsets, mixed with the two words of the seed."""

    def fnv(state: int) -> int:
        for byte in name.encode():
            state = (state ^ byte) * 0x01000193 & WORD
        return state

    low, high = seed & WORD, seed >> 32 & WORD
    return mix(fnv(0x811C9DC5) ^ low), mix(fnv(0x9747B28C) ^ high ^ (low * 0x9E3779B1 & WORD))


def words(seed: int, name: str, count: int, start: int = 0) -> np.ndarray:
    """The words of elements start to start + count."""
    elements = np.arange(start, start + count, dtype=np.uint64)
    rows = philox4x32(elements >> np.uint64(2), *key_of(seed, name))
    return rows[np.arange(count), (elements & np.uint64(3)).astype(np.int64)]


def unit(values: np.ndarray) -> np.ndarray:
    """Words to numbers between 0 and 1, both excluded."""
    return (values.astype(np.float64) + 0.5) * 2.0**-32


def uniform(seed: int, name: str, shape, low: float, high: float, start: int = 0) -> np.ndarray:
    """Uniform draws as f32."""
    count = int(np.prod(shape, dtype=np.int64))
    return (low + (high - low) * unit(words(seed, name, count, start))).astype(np.float32).reshape(shape)


def normal(seed: int, name: str, shape, mean: float, std: float, start: int = 0) -> np.ndarray:
    """Normal draws as f32: Box and Muller on the lane pairs (0, 1) and (2, 3) of each counter."""
    count = int(np.prod(shape, dtype=np.int64))
    elements = np.arange(start, start + count, dtype=np.uint64)
    lanes = unit(philox4x32(elements >> np.uint64(2), *key_of(seed, name)))
    lane = (elements & np.uint64(3)).astype(np.int64)
    first, second = lanes[np.arange(count), lane & 2], lanes[np.arange(count), lane | 1]
    radius, angle = np.sqrt(-2.0 * np.log(first)), 2.0 * np.pi * second
    draws = radius * np.where(lane & 1, np.sin(angle), np.cos(angle))
    return (mean + std * draws).astype(np.float32).reshape(shape)


def check() -> None:
    """Holds the generator against the known answers of the paper's Random123 library."""
    assert [hex(int(w)) for w in philox4x32([0], 0, 0)[0]] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
