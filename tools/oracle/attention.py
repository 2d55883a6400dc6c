"""Attention with groups, segments, biases and scales, attention across sequences, and rotary embeddings."""

import torch
import torch.nn.functional as F

from case import Input, case


def heads_of(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[s, b, heads · d] -> [b, heads, s, d]."""
    seq, batch, width = x.shape
    return x.reshape(seq, batch, heads, width // heads).permute(1, 2, 0, 3)


def attention(q, k, v, heads: int, groups: int, causal=False, window=None, scale=None, segments=(None, None), bias=None) -> torch.Tensor:
    """q [sq, b, a · d], k and v [sk, b, g · d] -> [sq, b, a · d]. Segments are [sq, b] and [sk, b], a bias is [a, sq, sk]."""
    queries, keys, batch = q.shape[0], k.shape[0], q.shape[1]
    of = lambda given, rows: torch.zeros(rows, batch, dtype=torch.int64) if given is None else given
    own, other = of(segments[0], queries).T[:, :, None], of(segments[1], keys).T[:, None, :]
    seen = (own == other) & (own >= 0)  # [b, sq, sk]
    if causal:
        seen = seen & torch.ones(queries, keys, dtype=torch.bool).tril()
    if window is not None:
        seen = seen & torch.ones(queries, keys, dtype=torch.bool).triu(1 - window)
    added = torch.zeros(heads, queries, keys, dtype=q.dtype) if bias is None else bias
    mask = torch.where(seen[:, None], added[None], float("-inf"))  # [b, a, sq, sk]
    parts = [heads_of(q, heads), heads_of(k, groups), heads_of(v, groups)]
    out = F.scaled_dot_product_attention(*parts, attn_mask=mask, scale=scale, enable_gqa=True)  # [b, a, sq, d]
    return out.permute(2, 0, 1, 3).reshape(q.shape)


def self_attention(qkv, rest, heads, groups, causal, window=None, scale=None, has_segments=False, has_bias=False) -> torch.Tensor:
    dim = qkv.shape[2] // (heads + 2 * groups)
    q, k, v = qkv.split([heads * dim, groups * dim, groups * dim], dim=-1)
    rest = list(rest)
    segments = (rest.pop(0),) * 2 if has_segments else (None, None)
    return attention(q, k, v, heads, groups, causal, window, scale, segments, rest.pop(0) if has_bias else None)


def within() -> list[dict]:
    cases = []
    for seq, batch, heads, groups, dim, causal, window, scale, segments, bias in [
        (3, 1, 2, 1, 2, True, None, None, False, False),
        (9, 2, 4, 2, 3, False, None, 0.3, False, False),
        (6, 2, 2, 2, 3, True, None, None, True, False),
        (11, 2, 3, 1, 4, False, None, None, True, False),
        (12, 2, 4, 2, 3, True, 5, None, True, False),
        (5, 2, 2, 1, 3, False, None, 1.0, False, True),
        (7, 2, 4, 2, 3, True, None, None, True, True),
    ]:
        inputs = [Input(seq, batch, (heads + 2 * groups) * dim)]
        inputs += [Input(seq, batch, low=-1, high=3, dtype="i32")] if segments else []
        inputs += [Input(heads, seq, seq)] if bias else []
        args = dict(numHeads=heads, numKeyValueHeads=groups, causal=causal, window=window, scale=scale, segments=segments, bias=bias)
        compute = lambda x, *rest, o=(heads, groups, causal, window, scale, segments, bias): self_attention(x, rest, *o)
        cases.append(case("selfAttention", inputs, compute, **args))
    return cases


def across() -> list[dict]:
    cases = []
    for queries, keys, batch, heads, groups, dim, scale, segments, bias in [
        (3, 5, 2, 2, 2, 3, None, (False, False), False),
        (7, 4, 2, 4, 2, 2, None, (False, True), False),
        (2, 19, 1, 3, 1, 8, 1.0, (True, True), True),
        (11, 6, 2, 2, 2, 4, 0.5, (True, False), True),
    ]:
        inputs = [Input(queries, batch, heads * dim), Input(keys, batch, 2 * groups * dim)]
        inputs += [Input(rows, batch, low=-1, high=1 + all(segments), dtype="i32") for rows, given in zip((queries, keys), segments) if given]
        inputs += [Input(heads, queries, keys)] if bias else []
        args = dict(numHeads=heads, numKeyValueHeads=groups, scale=scale, querySegments=segments[0], keySegments=segments[1], bias=bias)

        def compute(q, kv, *rest, heads=heads, groups=groups, scale=scale, segments=segments, bias=bias):
            rest = list(rest)
            held = tuple(rest.pop(0) if given else None for given in segments)
            return attention(q, *kv.chunk(2, dim=-1), heads, groups, scale=scale, segments=held, bias=rest.pop(0) if bias else None)

        cases.append(case("crossAttention", inputs, compute, **args))
    return cases


def rotate(x: torch.Tensor, angles: torch.Tensor, interleaved: bool) -> torch.Tensor:
    """x [s, b, heads, d]: its first channels turned by angles [s, b, rotated / 2]."""
    half = angles.shape[-1]
    cos, sin = angles.cos()[:, :, None], angles.sin()[:, :, None]  # [s, b, 1, rotated / 2]
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    first, second = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, dim=-1)
    parts = [first * cos - second * sin, second * cos + first * sin]
    turned = torch.stack(parts, dim=-1).flatten(-2) if interleaved else torch.cat(parts, dim=-1)
    return torch.cat([turned, rest], dim=-1)


def rotary(qkv, rest, heads: int, groups: int, rotated: int, interleaved: bool) -> torch.Tensor:
    seq, batch, width = qkv.shape
    dim = width // (heads + 2 * groups)
    positions = rest[0] if rest else torch.arange(seq)[:, None].expand(seq, batch)
    frequencies = 10_000.0 ** (-torch.arange(0, rotated, 2, dtype=torch.float64) / rotated)
    q_and_k, v = qkv.split([(heads + groups) * dim, groups * dim], dim=-1)
    turned = rotate(q_and_k.reshape(seq, batch, heads + groups, dim), positions[..., None] * frequencies, interleaved)
    return torch.cat([turned.flatten(-2), v], dim=-1)


def turning() -> list[dict]:
    cases = []
    for seq, batch, heads, groups, dim, rotated, interleaved, positions in [
        (3, 1, 1, 1, 4, 4, False, False),
        (5, 2, 4, 2, 6, 4, False, True),
        (5, 2, 2, 1, 6, 4, True, False),
        (4, 2, 2, 1, 32, 32, True, True),
        (3, 1, 1, 1, 70, 64, False, False),
    ]:
        inputs = [Input(seq, batch, (heads + 2 * groups) * dim)]
        inputs += [Input(seq, batch, low=0, high=20, dtype="i32")] if positions else []
        args = dict(numHeads=heads, numKeyValueHeads=groups, headDim=dim, rotaryDim=rotated, interleaved=interleaved)
        compute = lambda x, *rest, o=(heads, groups, rotated, interleaved): rotary(x, rest, *o)
        cases.append(case("rotaryEmbedding", inputs, compute, **args))
    return cases


def attending() -> list[dict]:
    return within() + across()
