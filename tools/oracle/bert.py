"""A small BERT with padding and masked tokens, written plainly in PyTorch on the weights that the library draws."""

import numpy as np
import torch
import torch.nn.functional as F

import philox
from golden_file import values, write_json, write_safetensors

SEED, STD, EPS = 78, 0.1, 1e-12
H, LAYERS, HEADS, VOCAB, SEQ, BATCH = 32, 2, 4, 61, 16, 3
D = H // HEADS
IGNORED = -100


def drawn() -> dict[str, np.ndarray]:
    """The values the library gives the parameters."""
    normal = lambda name, *shape: philox.normal(SEED, name, shape, 0.0, STD)
    found: dict[str, np.ndarray] = {}

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = np.ones(H, dtype=np.float32), np.zeros(H, dtype=np.float32)

    def layer(name: str, rows: int, cols: int, parts: str = "") -> None:
        draws = [normal(f"{name}.weight" + (f".{part}" if part else ""), rows, cols) for part in (parts or [""])]
        found[f"{name}.weight"] = np.concatenate(draws)
        found[f"{name}.bias"] = np.zeros(len(found[f"{name}.weight"]), dtype=np.float32)

    found["embedding.tokens.wordEmbeddings.weight"] = normal("embedding.wordEmbeddings.weight", VOCAB, H)
    found["embedding.tokens.positionEmbeddings.weight"] = normal("embedding.tokens.positionEmbeddings.weight", SEQ, H)
    found["embedding.tokenTypes"] = normal("embedding.tokenTypes", 2, H)
    norm("embedding.norm")
    for number in range(LAYERS):
        at = f"layers.{number}."
        norm(at + "attentionNorm")
        layer(at + "attention.qkv", H, H, "qkv")
        layer(at + "attention.projection", H, H)
        norm(at + "mlpNorm")
        layer(at + "mlp.up", 4 * H, H)
        layer(at + "mlp.down", H, 4 * H)
    found["head.transform"] = normal("head.transform", H, H)
    found["head.transformBias"] = np.zeros(H, dtype=np.float32)
    norm("head.norm")
    found["head.bias"] = np.zeros(VOCAB, dtype=np.float32)
    return found


def logits(p: dict[str, torch.Tensor], tokens: torch.Tensor, kinds: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """[s, b] each, to [s, b, v]."""
    norm = lambda x, name: F.layer_norm(x, (H,), p[f"{name}.weight"], p[f"{name}.bias"], EPS)
    apply = lambda x, name: F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])
    words, positions = p["embedding.tokens.wordEmbeddings.weight"], p["embedding.tokens.positionEmbeddings.weight"]
    x = norm(F.embedding(tokens, words) + positions[:, None] + F.embedding(kinds, p["embedding.tokenTypes"]), "embedding.norm")
    seen = (real.T[:, None, None, :] & real.T[:, None, :, None])  # [b, 1, s, s]
    for number in range(LAYERS):
        at = f"layers.{number}."
        q, k, v = (part.reshape(SEQ, BATCH, HEADS, D).permute(1, 2, 0, 3) for part in apply(x, at + "attention.qkv").chunk(3, -1))
        scores = (q @ k.transpose(-1, -2) / D**0.5).masked_fill(~seen, float("-inf"))
        mixed = (torch.nan_to_num(scores.softmax(-1)) @ v).permute(2, 0, 1, 3).reshape(SEQ, BATCH, H)
        x = norm(x + apply(mixed, at + "attention.projection"), at + "attentionNorm")
        x = norm(x + apply(F.gelu(apply(x, at + "mlp.up"), approximate="tanh"), at + "mlp.down"), at + "mlpNorm")
    x = norm(F.gelu(F.linear(x, p["head.transform"], p["head.transformBias"]), approximate="tanh"), "head.norm")
    return F.linear(x, words, p["head.bias"])


def write() -> None:
    """Losses of one batch and the gradients of their mean over masked tokens, in f64."""
    tokens = (philox.words(SEED, "golden.tokens", SEQ * BATCH).astype(np.int64) % VOCAB).reshape(SEQ, BATCH)
    draws = philox.words(SEED, "golden.masks", SEQ * BATCH).reshape(SEQ, BATCH)
    lengths = np.array([SEQ, 11, 5])
    real = np.arange(SEQ)[:, None] < lengths
    kinds = (np.arange(SEQ)[:, None] >= lengths // 2).astype(np.int64)
    targets = np.where(real & (draws % 3 == 0), (tokens * 7 + 3) % VOCAB, IGNORED)
    p = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in drawn().items()}
    found = logits(p, torch.tensor(tokens), torch.tensor(kinds), torch.tensor(real))
    losses = F.cross_entropy(found.reshape(-1, VOCAB), torch.tensor(targets).reshape(-1), reduction="none", ignore_index=IGNORED)
    (losses.sum() / int((targets != IGNORED).sum())).backward()
    config = {"vocabSize": VOCAB, "maxSequenceLength": SEQ, "hiddenSize": H, "numLayers": LAYERS, "numAttentionHeads": HEADS, "initStd": STD}
    segments = np.where(real, 0, -1)
    data = {"tokens": tokens, "tokenTypes": kinds, "segments": segments, "targets": targets, "losses": losses.detach().numpy()}
    write_json("bert.json", {"seed": SEED, "config": config, "batch": BATCH, **{name: values(array) for name, array in data.items()}})
    write_safetensors("bert-gradients.safetensors", {name: weight.grad.numpy() for name, weight in p.items()})
