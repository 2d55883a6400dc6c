"""Two small BERTs with padding and masked tokens, written plainly in PyTorch on the weights that the library draws: norms behind and one head,
and norms before with the binary head and losses smoothed."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

import philox
from golden_file import values, write_json, write_safetensors

SEED, STD, EPS = 78, 0.1, 1e-12
IGNORED = -100


@dataclass(frozen=True)
class Form:
    """Sizes and settings of one of the models."""

    file: str
    h: int
    ffn: int
    layers: int
    heads: int
    vocab: int
    seq: int
    lengths: tuple[int, ...]
    is_both: bool
    smoothing: float = 0.0
    z_loss: float = 0.0


FORMS = (
    Form("bert", h=32, ffn=128, layers=2, heads=4, vocab=61, seq=16, lengths=(16, 11, 5), is_both=False),
    Form("bert-binary", h=16, ffn=32, layers=1, heads=2, vocab=29, seq=8, lengths=(8, 5, 7), is_both=True, smoothing=0.1, z_loss=0.01),
)


def drawn(form: Form) -> dict[str, np.ndarray]:
    """The values the library gives the parameters."""
    H = form.h
    normal = lambda name, *shape: philox.normal(SEED, name, shape, 0.0, STD)
    found: dict[str, np.ndarray] = {}

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = np.ones(H, dtype=np.float32), np.zeros(H, dtype=np.float32)

    def layer(name: str, rows: int, cols: int, parts: str = "") -> None:
        draws = [normal(f"{name}.weight" + (f".{part}" if part else ""), rows, cols) for part in (parts or [""])]
        found[f"{name}.weight"] = np.concatenate(draws)
        found[f"{name}.bias"] = np.zeros(len(found[f"{name}.weight"]), dtype=np.float32)

    found["embedding.tokens.wordEmbeddings.weight"] = normal("embedding.wordEmbeddings.weight", form.vocab, H)
    found["embedding.tokens.positionEmbeddings.weight"] = normal("embedding.tokens.positionEmbeddings.weight", form.seq, H)
    found["embedding.tokenTypes"] = normal("embedding.tokenTypes", 2, H)
    if not form.is_both:
        norm("embedding.norm")
    for number in range(form.layers):
        at = f"layers.{number}."
        norm(at + "attentionNorm")
        layer(at + "attention.qkv", H, H, "qkv")
        layer(at + "attention.projection", H, H)
        norm(at + "mlpNorm")
        layer(at + "mlp.up", form.ffn, H)
        layer(at + "mlp.down", H, form.ffn)
    found["head.transform"] = normal("head.transform", H, H)
    found["head.transformBias"] = np.zeros(H, dtype=np.float32)
    norm("head.norm")
    found["head.bias"] = np.zeros(form.vocab, dtype=np.float32)
    if form.is_both:
        norm("finalNorm")
        layer("pooler", H, H)
        layer("binaryHead", 2, H)
    return found


def logits(form: Form, p: dict[str, torch.Tensor], data: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """[s, b] each, to [s, b, v] and [b, 2]."""
    real, before = data["segments"] >= 0, form.is_both
    norm = lambda x, name: F.layer_norm(x, (form.h,), p[f"{name}.weight"], p[f"{name}.bias"], EPS)
    first = lambda x, name: norm(x, name) if before else x
    behind = lambda x, name: x if before else norm(x, name)
    apply = lambda x, name: F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])
    words, positions = p["embedding.tokens.wordEmbeddings.weight"], p["embedding.tokens.positionEmbeddings.weight"]
    x = behind(F.embedding(data["tokens"], words) + positions[:, None] + F.embedding(data["tokenTypes"], p["embedding.tokenTypes"]), "embedding.norm")
    seen = real.T[:, None, None, :] & real.T[:, None, :, None]  # [b, 1, s, s]
    heads = lambda part: part.reshape(*part.shape[:2], form.heads, form.h // form.heads).permute(1, 2, 0, 3)
    for number in range(form.layers):
        at = f"layers.{number}."
        q, k, v = (heads(part) for part in apply(first(x, at + "attentionNorm"), at + "attention.qkv").chunk(3, -1))
        scores = (q @ k.transpose(-1, -2) / (form.h // form.heads) ** 0.5).masked_fill(~seen, float("-inf"))
        mixed = (torch.nan_to_num(scores.softmax(-1)) @ v).permute(2, 0, 1, 3).reshape(*x.shape)
        x = behind(x + apply(mixed, at + "attention.projection"), at + "attentionNorm")
        x = behind(x + apply(F.gelu(apply(first(x, at + "mlpNorm"), at + "mlp.up"), approximate="tanh"), at + "mlp.down"), at + "mlpNorm")
    x = first(x, "finalNorm")
    sentences = apply(torch.tanh(apply(x[0], "pooler")), "binaryHead") if form.is_both else None
    x = norm(F.gelu(F.linear(x, p["head.transform"], p["head.transformBias"]), approximate="tanh"), "head.norm")
    return F.linear(x, words, p["head.bias"]), sentences


def batch(form: Form) -> dict[str, np.ndarray]:
    """Samples of several lengths: [s, b] each."""
    shape = (form.seq, len(form.lengths))
    count = form.seq * len(form.lengths)
    tokens = (philox.words(SEED, "golden.tokens", count).astype(np.int64) % form.vocab).reshape(shape)
    draws = philox.words(SEED, "golden.masks", count).reshape(shape)
    lengths = np.array(form.lengths)
    real = np.arange(form.seq)[:, None] < lengths
    kinds = (np.arange(form.seq)[:, None] >= lengths // 2).astype(np.int64)
    targets = np.where(real & (draws % 3 == 0), (tokens * 7 + 3) % form.vocab, IGNORED)
    return {"tokens": tokens, "tokenTypes": kinds, "segments": np.where(real, 0, -1), "targets": targets}


def write() -> None:
    """Losses of one batch and the gradients of their mean over masked tokens, in f64."""
    for form in FORMS:
        data = batch(form)
        told = {name: torch.tensor(array) for name, array in data.items()}
        p = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in drawn(form).items()}
        found, sentences = logits(form, p, told)
        targets = told["targets"].reshape(-1)
        settings = {"ignore_index": IGNORED, "label_smoothing": form.smoothing}
        losses = F.cross_entropy(found.reshape(-1, form.vocab), targets, reduction="none", **settings)
        is_masked = (targets != IGNORED).double()
        losses = losses + form.z_loss * is_masked * found.reshape(-1, form.vocab).logsumexp(-1) ** 2
        extra = {}
        if sentences is not None:
            extra = {"sentenceTargets": [int(value) for value in philox.words(SEED, "golden.sentences", len(form.lengths)) % 2]}
            own = F.cross_entropy(sentences, torch.tensor(extra["sentenceTargets"]), reduction="none")  # [b]
            extra["sentenceLogits"] = values(sentences.detach().numpy())
            losses = losses + is_masked * own.repeat(form.seq)
        (losses.sum() / int(is_masked.sum())).backward()
        config = {"vocabSize": form.vocab, "maxSequenceLength": form.seq, "hiddenSize": form.h, "numLayers": form.layers}
        config |= {"numAttentionHeads": form.heads, "initStd": STD}
        if form.is_both:
            config |= {"ffnHiddenSize": form.ffn, "normPlacement": "pre", "addBinaryHead": True}
            config |= {"labelSmoothing": form.smoothing, "zLoss": form.z_loss}
        lists = {name: values(array) for name, array in {**data, "losses": losses.detach().numpy()}.items()}
        write_json(f"{form.file}.json", {"seed": SEED, "config": config, "batch": len(form.lengths), **lists, **extra})
        write_safetensors(f"{form.file}-gradients.safetensors", {name: weight.grad.numpy() for name, weight in p.items()})
