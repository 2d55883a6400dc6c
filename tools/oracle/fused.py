"""Operations that the engine runs in one pass, and conversions."""

import torch
import torch.nn.functional as F

from case import Input, case


def attention(qkv: torch.Tensor, heads: int, causal: bool, window: int | None = None) -> torch.Tensor:
    """[s, b, 3 · a · d] -> [s, b, a · d], written out so that nothing hides. With a window, a query sees its last keys only."""
    seq, batch, width = qkv.shape
    dim = width // (3 * heads)
    q, k, v = (part.reshape(seq, batch, heads, dim).permute(1, 2, 0, 3) for part in qkv.chunk(3, dim=-1))  # [b, a, s, d]
    scores = q @ k.transpose(-1, -2) / dim**0.5  # [b, a, s, s]
    if causal:
        scores = scores.masked_fill(torch.ones(seq, seq, dtype=torch.bool).triu(1), float("-inf"))
    if window is not None:
        scores = scores.masked_fill(torch.ones(seq, seq, dtype=torch.bool).tril(-window), float("-inf"))
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
    for seq, batch, heads, dim, window in [(5, 2, 2, 3, 2), (9, 1, 1, 4, 1), (33, 1, 1, 4, 10)]:
        inputs = [Input(seq, batch, 3 * heads * dim)]
        cases.append(case("selfAttention", inputs, lambda x, h=heads, w=window: attention(x, h, True, w), numHeads=heads, causal=True, window=window))
    for shape in [(4, 10), (3, 2, 34), (2,)]:
        inputs = [Input(*shape, low=-3, high=3), Input(shape[-1])]
        cases.append(case("biasSwiglu", inputs, lambda x, b: gated(x + b, F.silu)))
        cases.append(case("biasGeglu", inputs, lambda x, b: gated(x + b, lambda g: F.gelu(g, approximate="tanh"))))
        cases.append(case("biasSwiglu", inputs[:1], lambda x: gated(x, F.silu)))
    return cases


def gated(x: torch.Tensor, f) -> torch.Tensor:
    """f of the first half of the last dim, times the second half."""
    gate, up = x.chunk(2, dim=-1)
    return f(gate) * up


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def norming() -> list[dict]:
    cases = []
    for shape in [(4, 5), (3, 2, 33), (7,)]:
        stream, weight, vector = [Input(*shape), Input(*shape)], Input(shape[-1], low=0.5, high=1.5), Input(shape[-1])
        layer = lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, 1e-5)
        cases.append(case("layerNorm", [stream[0], weight, vector], layer, eps=1e-5))
        cases.append(case("rmsNorm", [stream[0], weight], lambda x, w: rms_norm(x, w, 1e-5), eps=1e-5))
        cases.append(case("biasAdd", [stream[0], vector], lambda x, b: x + b))
        cases.append(case("biasAdd", [stream[0], vector, stream[1]], lambda x, b, r: r + (x + b)))
        # the sum and its norm, one after the other
        both = lambda x, r, f: torch.cat([x + r, f(x + r)])
        cases.append(case("addLayerNorm", [*stream, weight, vector], lambda x, r, w, b: both(x, r, lambda s: layer(s, w, b)), eps=1e-5))
        cases.append(case("addLayerNorm", [*stream, weight, vector, vector], lambda x, r, w, b, c: both(x + c, r, lambda s: layer(s, w, b)), eps=1e-5))
        cases.append(case("addRmsNorm", [*stream, weight], lambda x, r, w: both(x, r, lambda s: rms_norm(s, w, 1e-5)), eps=1e-5))
    return cases


def row_losses(x: torch.Tensor, t: torch.Tensor, smoothing: float, z: float, ignored: int | None) -> torch.Tensor:
    """Each row's loss, with the auxiliary loss of PaLM (Chowdhery et al. 2022, section 5): z (log Z)^2."""
    rows, targets, ignore_index = x.reshape(-1, x.shape[-1]), t.reshape(-1), -1 if ignored is None else ignored
    losses = F.cross_entropy(rows, targets, reduction="none", label_smoothing=smoothing, ignore_index=ignore_index)
    return (losses + z * rows.logsumexp(-1) ** 2 * (targets != ignore_index)).reshape(t.shape)


def looking_up() -> list[dict]:
    cases = []
    for rows, cols, tokens in [(7, 4, (5,)), (11, 3, (3, 2)), (3, 17, (2, 2, 4))]:
        inputs = [Input(rows, cols), Input(*tokens, low=0, high=rows, dtype="i32")]
        cases.append(case("embedding", inputs, lambda w, t: F.embedding(t, w)))
    for rows, vocab in [((4,), 6), ((3, 2), 17), ((5, 1), 33)]:
        inputs = [Input(*rows, vocab, low=-6, high=6), Input(*rows, low=0, high=vocab, dtype="i32")]
        cases.append(case("crossEntropy", inputs, lambda x, t: F.cross_entropy(x.reshape(-1, x.shape[-1]), t.reshape(-1), reduction="none").reshape(t.shape)))
    for rows, vocab, hidden in [((4,), 6, 3), ((3, 2), 17, 8), ((5, 1), 33, 5)]:
        inputs = [Input(*rows, hidden), Input(vocab, hidden), Input(*rows, low=0, high=vocab, dtype="i32")]
        losses = lambda x, w, t: F.cross_entropy((x @ w.T).reshape(-1, w.shape[0]), t.reshape(-1), reduction="none").reshape(t.shape)
        cases.append(case("shardedLinearCrossEntropy", inputs, losses))
        skipping = lambda x, w, t: F.cross_entropy((x @ w.T).reshape(-1, w.shape[0]), t.reshape(-1), reduction="none", ignore_index=0).reshape(t.shape)
        cases.append(case("shardedLinearCrossEntropy", inputs, skipping, ignoreIndex=0))
    for smoothing, z, ignored in [(0.1, 0.0, None), (0.0, 0.01, None), (0.3, 1e-3, -100), (1.0, 0.0, 3)]:
        args = {"labelSmoothing": smoothing, "zLoss": z} | ({} if ignored is None else {"ignoreIndex": ignored})
        targets = Input(3, 2, data=[4, 3, 16, 0 if ignored is None else ignored, 7, 3], dtype="i32")
        losses = lambda x, t, s=smoothing, c=z, i=ignored: row_losses(x, t, s, c, i)
        cases.append(case("crossEntropy", [Input(3, 2, 17, low=-6, high=6), targets], losses, **args))
        of_head = lambda x, w, t, s=smoothing, c=z, i=ignored: row_losses(x @ w.T, t, s, c, i)
        cases.append(case("shardedLinearCrossEntropy", [Input(3, 2, 8), Input(17, 8), targets], of_head, **args))
    for shape in [(6,), (3, 5), (2, 3, 4)]:
        cases.append(case("mseLoss", [Input(*shape), Input(*shape)], F.mse_loss))
    for dtype, torch_dtype in [("bf16", torch.bfloat16), ("f16", torch.float16)]:
        # through f32 first: from f64 it would be rounded twice otherwise
        cases.append(case("to", [Input(23, low=-70, high=70)], lambda x, d=torch_dtype: x.float().to(d).double(), dtype=dtype))
    cases.append(case("to", [Input(9, low=-70, high=70)], lambda x: x.detach().float().to(torch.int32), dtype="i32"))
    return cases
