"""Frequencies of rotations, written after the code that the papers' authors published, and the rotation itself."""

import math

import numpy as np
import torch

BASES = (10000.0, 500000.0)


def plain(dim: int, base: float) -> np.ndarray:
    """Angle per position of each pair of features."""
    return 1.0 / base ** (np.arange(0, dim, 2, dtype=np.float64) / dim)


def llama3(dim: int, base: float, factor: float, low: float, high: float, length: int) -> np.ndarray:
    """Llama 3.1: by wavelength."""
    found = []
    for frequency in plain(dim, base):
        wavelength = 2 * math.pi / frequency
        if wavelength < length / high:
            found.append(frequency)
        elif wavelength > length / low:
            found.append(frequency / factor)
        else:
            smooth = (length / wavelength - low) / (high - low)
            found.append((1 - smooth) * frequency / factor + smooth * frequency)
    return np.array(found)


def yarn(dim: int, base: float, factor: float, fast: float, slow: float, length: int) -> np.ndarray:
    """YaRN: by the number of turns in the original length."""

    def dim_of(turns: float) -> float:
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(dim_of(fast)), 0), min(math.ceil(dim_of(slow)), dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low if high != low else 0.001), 0, 1)
    extrapolated = plain(dim, base)
    return extrapolated / factor * ramp + extrapolated * (1 - ramp)


def rotate(x: torch.Tensor, frequencies: np.ndarray, magnitude: float = 1.0) -> torch.Tensor:
    """[s, b, heads, d], a pair being feature i of the first half and feature i of the second."""
    angles = torch.tensor(np.outer(np.arange(x.shape[0]), frequencies))  # [s, d / 2]
    cos, sin = (torch.cat([f(angles)] * 2, -1)[:, None, None] * magnitude for f in (torch.cos, torch.sin))
    first, second = x.chunk(2, -1)
    return x * cos.to(x.dtype) + torch.cat([-second, first], -1) * sin.to(x.dtype)


def frequencies() -> list[dict]:
    """Cases for the test of frequencies: options in the library's words, and what comes out."""
    cases = []
    for dim in (8, 64, 128):
        for base in BASES:
            cases.append({"dim": dim, "options": {"base": base}, "frequencies": plain(dim, base).tolist()})
            options = {"kind": "llama3", "factor": 8, "lowFrequencyFactor": 1, "highFrequencyFactor": 4, "originalMaxSequenceLength": 8192}
            cases.append({"dim": dim, "options": {"base": base, "scaling": options}, "frequencies": llama3(dim, base, 8, 1, 4, 8192).tolist()})
            options = {"kind": "yarn", "factor": 16, "betaFast": 32, "betaSlow": 1, "originalMaxSequenceLength": 4096}
            cases.append({"dim": dim, "options": {"base": base, "scaling": options}, "frequencies": yarn(dim, base, 16, 32, 1, 4096).tolist()})
    return cases
