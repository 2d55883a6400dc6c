"""Operations that the engine runs in one pass, and conversions."""

import torch
import torch.nn.functional as F

from case import Input, case


def attention(qkv: torch.Tensor, heads: int, causal: bool) -> torch.Tensor:
    """[s, b, 3 · a · d] -> [s, b, a · d], written out so that nothing hides."""
    seq, batch, width = qkv.shape
    dim = width // (3 * heads)
    q, k, v = (part.reshape(seq, batch, heads, dim).permute(1, 2, 0, 3) for part in qkv.chunk(3, dim=-1))  # [b, a, s, d]
    scores = q @ k.transpose(-1, -2) / dim**0.5  # [b, a, s, s]
    if causal:
        scores = scores.masked_fill(torch.ones(seq, seq, dtype=torch.bool).triu(1), float("-inf"))
    return (scores.softmax(-1) @ v).permute(2, 0, 1, 3).reshape(seq, batch, heads * dim)  # [s, b, a · d]


def mixing() -> list[dict]:
    cases = []
    for seq, batch, heads, dim in [(1, 2, 1, 4), (5, 2, 2, 3), (17, 1, 3, 8), (37, 1, 1, 4)]:
        for causal in (True, False):
            inputs = [Input(seq, batch, 3 * heads * dim)]
            cases.append(case("selfAttention", inputs, lambda x, h=heads, c=causal: attention(x, h, c), numHeads=heads, causal=causal))
    for shape in [(4, 5), (3, 2, 33), (7,)]:
        inputs = [Input(*shape, low=-3, high=3), Input(shape[-1])]
        cases.append(case("biasGelu", inputs, lambda x, b: F.gelu(x + b, approximate="tanh")))
    for shape in [(4, 5), (3, 2, 33), (7,)]:
        inputs = [Input(*shape), Input(shape[-1], low=0.5, high=1.5), Input(shape[-1])]
        cases.append(case("layerNorm", inputs, lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, 1e-5), eps=1e-5))
    return cases


def looking_up() -> list[dict]:
    cases = []
    for rows, cols, tokens in [(7, 4, (5,)), (11, 3, (3, 2)), (3, 17, (2, 2, 4))]:
        inputs = [Input(rows, cols), Input(*tokens, low=0, high=rows, dtype="i32")]
        cases.append(case("embedding", inputs, lambda w, t: F.embedding(t, w)))
    for rows, vocab in [((4,), 6), ((3, 2), 17), ((5, 1), 33)]:
        inputs = [Input(*rows, vocab, low=-6, high=6), Input(*rows, low=0, high=vocab, dtype="i32")]
        cases.append(case("crossEntropy", inputs, lambda x, t: F.cross_entropy(x.reshape(-1, x.shape[-1]), t.reshape(-1), reduction="none").reshape(t.shape)))
    for shape in [(6,), (3, 5), (2, 3, 4)]:
        cases.append(case("mseLoss", [Input(*shape), Input(*shape)], F.mse_loss))
    for dtype, torch_dtype in [("bf16", torch.bfloat16), ("f16", torch.float16)]:
        # through f32 first: from f64 it would be rounded twice otherwise
        cases.append(case("to", [Input(23, low=-70, high=70)], lambda x, d=torch_dtype: x.float().to(d).double(), dtype=dtype))
    cases.append(case("to", [Input(9, low=-70, high=70)], lambda x: x.detach().float().to(torch.int32), dtype="i32"))
    return cases
