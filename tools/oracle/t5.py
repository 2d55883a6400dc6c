"""Two small T5 models with padding, as first published and gated with a head of its own, written plainly in PyTorch on the weights that the
library draws."""

import math

import numpy as np
import torch
import torch.nn.functional as F

import philox
from golden_file import values, write_json, write_safetensors

SEED, EPS = 79, 1e-6
H, HEADS, D, FFN, VOCAB, BATCH = 12, 4, 5, 20, 37, 3
ENCODED, DECODED, LAYERS, DECODER_LAYERS = 21, 9, 2, 2
BUCKETS, FAR = 8, 12
IGNORED = -100
FORMS = {"t5": {"activation": "relu", "tiedHead": True}, "t5-gated": {"activation": "geglu", "tiedHead": False}}


def drawn(activation: str, tied: bool) -> dict[str, np.ndarray]:
    """The values the library gives the parameters."""
    normal = lambda name, fan, *shape: philox.normal(SEED, name, shape, 0.0, 1 / math.sqrt(fan))
    found = {"embedding.weight": normal("embedding.weight", 1, VOCAB, H)}
    inner = HEADS * D

    def stacked(name: str, *parts: tuple[str, int, int]) -> None:
        found[f"{name}.weight"] = np.concatenate([normal(f"{name}.weight.{part}", fan, rows, H) for part, fan, rows in parts])

    for stack, layers in (("encoder", LAYERS), ("decoder", DECODER_LAYERS)):
        found[f"{stack}.relativeBias.weight"] = normal(f"{stack}.relativeBias.weight", H, BUCKETS, HEADS)
        found[f"{stack}.finalNorm.weight"] = np.ones(H, dtype=np.float32)
        for number in range(layers):
            at = f"{stack}.layers.{number}."
            for norm in ("attentionNorm", "mlpNorm") + (("crossAttentionNorm",) if stack == "decoder" else ()):
                found[at + norm + ".weight"] = np.ones(H, dtype=np.float32)
            stacked(at + "attention.qkv", ("q", H * D, inner), ("k", H, inner), ("v", H, inner))
            found[at + "attention.projection.weight"] = normal(at + "attention.projection.weight", inner, H, inner)
            if stack == "decoder":
                found[at + "crossAttention.query.weight"] = normal(at + "crossAttention.query.weight", H * D, inner, H)
                stacked(at + "crossAttention.keyValue", ("k", H, inner), ("v", H, inner))
                found[at + "crossAttention.projection.weight"] = normal(at + "crossAttention.projection.weight", inner, H, inner)
            if activation == "geglu":
                stacked(at + "mlp.up", ("gate", H, FFN), ("up", H, FFN))
            else:
                found[at + "mlp.up.weight"] = normal(at + "mlp.up.weight", H, FFN, H)
            found[at + "mlp.down.weight"] = normal(at + "mlp.down.weight", FFN, H, FFN)
    if not tied:
        found["head.weight"] = normal("head.weight", 1, VOCAB, H)
    return found


def buckets(length: int, both_ways: bool) -> torch.Tensor:
    """Bucket of each key for each query, in f32 as in the published code: [s, s]."""
    distance = torch.arange(length)[None, :] - torch.arange(length)[:, None]
    count = BUCKETS // 2 if both_ways else BUCKETS
    first = (distance > 0).long() * count if both_ways else torch.zeros_like(distance)
    away = distance.abs() if both_ways else (-distance).clamp(min=0)
    exact = count // 2
    log = torch.log(away.float().clamp(min=1) / exact) / math.log(FAR / exact) * (count - exact)
    far = (exact + log.long()).clamp(max=count - 1)
    return first + torch.where(away < exact, away, far)


def logits(p: dict[str, torch.Tensor], form: dict, data: dict[str, torch.Tensor]) -> torch.Tensor:
    """[sd, b, v]."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * p[name + ".weight"]

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], HEADS, D).permute(1, 2, 0, 3)  # [b, a, s, d]

    def attend(q, k, v, seen, bias) -> torch.Tensor:
        scores = (heads(q) @ heads(k).transpose(-1, -2) + bias).masked_fill(~seen, float("-inf"))
        return (torch.nan_to_num(scores.softmax(-1)) @ heads(v)).permute(2, 0, 1, 3).reshape(*q.shape)

    def mlp(x: torch.Tensor, at: str) -> torch.Tensor:
        wide = F.linear(x, p[at + "mlp.up.weight"])
        if form["activation"] == "geglu":
            gate, up = wide.chunk(2, -1)
            wide = F.gelu(gate, approximate="tanh") * up
        else:
            wide = F.relu(wide)
        return F.linear(wide, p[at + "mlp.down.weight"])

    def run(stack: str, layers: int, tokens: torch.Tensor, segments: torch.Tensor, memory=None, memory_segments=None) -> torch.Tensor:
        words, length = F.embedding(tokens, p["embedding.weight"]), len(tokens)
        bias = p[f"{stack}.relativeBias.weight"][buckets(length, memory is None)].permute(2, 0, 1)  # [a, s, s]
        match = lambda query, key: ((query.T[:, :, None] == key.T[:, None, :]) & (query.T[:, :, None] >= 0))[:, None]
        seen = match(segments, segments)
        if memory is not None:
            seen = seen & torch.ones(length, length, dtype=torch.bool).tril()
        x = words
        for number in range(layers):
            at = f"{stack}.layers.{number}."
            q, k, v = F.linear(norm(x, at + "attentionNorm"), p[at + "attention.qkv.weight"]).chunk(3, -1)
            x = x + F.linear(attend(q, k, v, seen, bias), p[at + "attention.projection.weight"])
            if memory is not None:
                q = F.linear(norm(x, at + "crossAttentionNorm"), p[at + "crossAttention.query.weight"])
                k, v = F.linear(memory, p[at + "crossAttention.keyValue.weight"]).chunk(2, -1)
                mixed = attend(q, k, v, match(segments, memory_segments), 0)
                x = x + F.linear(mixed, p[at + "crossAttention.projection.weight"])
            x = x + mlp(norm(x, at + "mlpNorm"), at)
        return norm(x, f"{stack}.finalNorm")

    memory = run("encoder", LAYERS, data["tokens"], data["segments"])
    hidden = run("decoder", DECODER_LAYERS, data["decoderTokens"], data["decoderSegments"], memory, data["segments"])
    return F.linear(hidden * H**-0.5, p["embedding.weight"]) if form["tiedHead"] else F.linear(hidden, p["head.weight"])


def batch() -> dict[str, np.ndarray]:
    """Sequences of three lengths, each a packed pair at the end: [s, b]."""
    draw = lambda name, length: (philox.words(SEED, name, length * BATCH).astype(np.int64) % VOCAB).reshape(length, BATCH)
    tokens, targets = draw("golden.tokens", ENCODED), draw("golden.targets", DECODED)
    decoder_tokens = np.concatenate([np.zeros((1, BATCH), dtype=np.int64), targets[:-1]])
    at = lambda length: np.arange(length)[:, None]
    segments = np.where(at(ENCODED) < np.array([ENCODED, 13, 6]), at(ENCODED) >= np.array([ENCODED, 8, 99]), -1)
    decoder_segments = np.where(at(DECODED) < np.array([DECODED, 7, 4]), at(DECODED) >= np.array([DECODED, 3, 99]), -1)
    targets = np.where(decoder_segments >= 0, targets, IGNORED)
    return {"tokens": tokens, "decoderTokens": decoder_tokens, "segments": segments, "decoderSegments": decoder_segments, "targets": targets}


def write() -> None:
    """Losses of one batch and the gradients of their mean over the tokens that count, in f64."""
    data = batch()
    sizes = {"vocabSize": VOCAB, "hiddenSize": H, "headDim": D, "numAttentionHeads": HEADS, "ffnHiddenSize": FFN}
    depth = {"numLayers": LAYERS, "numDecoderLayers": DECODER_LAYERS, "numBuckets": BUCKETS, "maxDistance": FAR}
    for file, form in FORMS.items():
        p = {
            name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
            for name, value in drawn(form["activation"], form["tiedHead"]).items()
        }
        found = logits(p, form, {name: torch.tensor(array) for name, array in data.items()})
        targets = torch.tensor(data["targets"]).reshape(-1)
        losses = F.cross_entropy(found.reshape(-1, VOCAB), targets, reduction="none", ignore_index=IGNORED)
        (losses.sum() / int((targets != IGNORED).sum())).backward()
        told = {name: values(array) for name, array in {**data, "losses": losses.detach().numpy()}.items()}
        write_json(f"{file}.json", {"seed": SEED, "config": {**sizes, **depth, **form}, "batch": BATCH, **told})
        write_safetensors(f"{file}-gradients.safetensors", {name: weight.grad.numpy() for name, weight in p.items()})
