"""Small GPTs whose queries and keys are turned in other ways than a Llama's, or normed, written plainly in PyTorch on the weights that the
library draws: neighbours as pairs, a share of the features, norms of each head, packed documents with positions of their own."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

import philox
from attention import rotate
from fused import rms_norm
from golden_file import values, write_json, write_safetensors

SEED, STD, EPS, BASE = 80, 0.2, 1e-5, 500.0
H, FFN, VOCAB, SEQ, BATCH = 12, 16, 17, 10, 2


@dataclass(frozen=True)
class Form:
    """What tells one of the models from the others."""

    file: str
    layers: int
    heads: int
    groups: int
    dim: int
    fraction: float
    interleaved: bool
    is_normed: bool
    is_llama: bool
    is_packed: bool = False
    slower: float = 1.0


FORMS = (
    Form("gpt-neighbours", 2, 4, 2, 6, 1.0, interleaved=True, is_normed=True, is_llama=True, is_packed=True),
    Form("gpt-partial", 1, 2, 2, 8, 0.5, interleaved=False, is_normed=False, is_llama=False),
    Form("gpt-partial-neighbours", 1, 3, 1, 8, 0.5, interleaved=True, is_normed=True, is_llama=True, slower=4.0),
)


def drawn(form: Form) -> dict[str, np.ndarray]:
    """The values the library gives the parameters."""
    outer = STD / (2 * form.layers) ** 0.5
    normal = lambda name, rows, cols, std=STD: philox.normal(SEED, name, (rows, cols), 0.0, std)
    found = {"embedding.wordEmbeddings.weight": normal("embedding.wordEmbeddings.weight", VOCAB, H)}

    def norm(name: str, size: int = H, is_rms: bool = form.is_llama) -> None:
        found[name + ".weight"] = np.ones(size, dtype=np.float32)
        if not is_rms:
            found[name + ".bias"] = np.zeros(size, dtype=np.float32)

    def layer(name: str, cols: int, std: float, **parts: int) -> None:
        draws = [normal(f"{name}.weight" + (f".{part}" if len(parts) > 1 else ""), rows, cols, std) for part, rows in parts.items()]
        found[name + ".weight"] = np.concatenate(draws)
        if not form.is_llama:
            found[name + ".bias"] = np.zeros(len(found[name + ".weight"]), dtype=np.float32)

    queries, keys = form.heads * form.dim, form.groups * form.dim
    for number in range(form.layers):
        at = f"layers.{number}."
        norm(at + "attentionNorm")
        layer(at + "attention.qkv", H, STD, q=queries, k=keys, v=keys)
        if form.is_normed:
            norm(at + "attention.headNorm.query", form.dim, True)
            norm(at + "attention.headNorm.key", form.dim, True)
        layer(at + "attention.projection", queries, outer, all=H)
        norm(at + "mlpNorm")
        layer(at + "mlp.up", H, STD, **({"gate": FFN, "up": FFN} if form.is_llama else {"all": FFN}))
        layer(at + "mlp.down", FFN, outer, all=H)
    norm("finalNorm")
    return found


def losses(form: Form, p: dict[str, torch.Tensor], data: dict[str, torch.Tensor]) -> torch.Tensor:
    """Loss of each token, [s, b]."""
    words, rotated = p["embedding.wordEmbeddings.weight"], int(form.dim * form.fraction)
    frequencies = BASE ** (-torch.arange(0, rotated, 2, dtype=torch.float64) / rotated) / form.slower
    angles = data["positions"][..., None] * frequencies  # [s, b, rotated / 2]
    segments = data["segments"].T  # [b, s]
    seen = (segments[:, :, None] == segments[:, None, :]) & torch.ones(SEQ, SEQ, dtype=torch.bool).tril()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        if form.is_llama:
            return rms_norm(x, p[name + ".weight"], EPS)
        return F.layer_norm(x, (H,), p[name + ".weight"], p[name + ".bias"], EPS)

    def apply(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, p[name + ".weight"], p.get(name + ".bias"))

    def turned(part: torch.Tensor, scale: str) -> torch.Tensor:
        if form.is_normed:
            part = rms_norm(part, p[scale], EPS)
        return rotate(part, angles, form.interleaved)

    x = F.embedding(data["tokens"], words)
    for number in range(form.layers):
        at = f"layers.{number}."
        mixed = apply(norm(x, at + "attentionNorm"), at + "attention.qkv").reshape(SEQ, BATCH, -1, form.dim)
        q, k, v = mixed.split([form.heads, form.groups, form.groups], dim=2)
        q, k = turned(q, at + "attention.headNorm.query.weight"), turned(k, at + "attention.headNorm.key.weight")
        q, k, v = (part.permute(1, 2, 0, 3) for part in (q, k, v))  # [b, heads, s, d]
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None], enable_gqa=True)
        x = x + apply(context.permute(2, 0, 1, 3).reshape(SEQ, BATCH, -1), at + "attention.projection")
        wide = apply(norm(x, at + "mlpNorm"), at + "mlp.up")
        if form.is_llama:
            gate, up = wide.chunk(2, -1)
            x = x + apply(F.silu(gate) * up, at + "mlp.down")
        else:
            x = x + apply(F.gelu(wide, approximate="tanh"), at + "mlp.down")
    scores = F.linear(norm(x, "finalNorm"), words)
    return F.cross_entropy(scores.reshape(-1, VOCAB), data["targets"].reshape(-1), reduction="none").reshape(SEQ, BATCH)


def batch(form: Form) -> dict[str, np.ndarray]:
    """Rows of [s, b]; packed ones hold two documents of which each counts from 0."""
    walk = (philox.words(SEED, "golden.tokens", (SEQ + 1) * BATCH).astype(np.int64) % VOCAB).reshape(SEQ + 1, BATCH)
    rows, cuts = np.arange(SEQ)[:, None].repeat(BATCH, 1), np.array([4, 7]) if form.is_packed else np.array([SEQ, SEQ])
    segments = (rows >= cuts).astype(np.int64)
    return {"tokens": walk[:-1], "targets": walk[1:], "segments": segments, "positions": rows - segments * cuts}


def write() -> None:
    """Losses of one batch and the gradients of their mean, in f64."""
    for form in FORMS:
        data = batch(form)
        p = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in drawn(form).items()}
        found = losses(form, p, {name: torch.tensor(array) for name, array in data.items()})
        found.mean().backward()
        rotary = {"base": BASE, "fraction": form.fraction, "interleaved": form.interleaved}
        if form.slower != 1:
            rotary["scaling"] = {"kind": "linear", "factor": form.slower}
        config = {"vocabSize": VOCAB, "maxSequenceLength": SEQ, "hiddenSize": H, "ffnHiddenSize": FFN, "numLayers": form.layers}
        config |= {"numAttentionHeads": form.heads, "numKeyValueHeads": form.groups, "headDim": form.dim, "initStd": STD}
        config |= {"rotary": rotary, "qkNorm": form.is_normed}
        if form.is_llama:
            config |= {"normalization": "rmsNorm", "activation": "swiglu", "bias": False}
        told = {name: values(array) for name, array in {**data, "losses": found.detach().numpy()}.items()}
        write_json(f"{form.file}.json", {"seed": SEED, "batch": BATCH, "config": config, **told})
        write_safetensors(f"{form.file}-gradients.safetensors", {name: weight.grad.numpy() for name, weight in p.items()})
