"""The small GPT of the parity tests, written plainly in PyTorch on the weights that the library draws."""

import math

import numpy as np
import torch
import torch.nn.functional as F

import philox
from fused import attention
from golden_file import values, write_json, write_safetensors

SEED = 1234
HIDDEN, LAYERS, HEADS, VOCAB, SEQ, BATCH = 32, 4, 4, 64, 16, 4
STEPS, LEARNING_RATE, BETAS, EPS, DECAY = 20, 1e-3, (0.9, 0.95), 1e-8, 0.1
STD = 0.02
OUT_STD = STD / math.sqrt(2 * LAYERS)
H = HIDDEN

# Suffix of a layer's parameter: shape and how it is filled. A qkv weight is three tensors of the model, each with its own draws.
LAYER = {
    "attentionNorm.weight": ((H,), "ones"),
    "attentionNorm.bias": ((H,), "zeros"),
    "attention.qkv.weight": ((3 * H, H), STD),
    "attention.qkv.bias": ((3 * H,), "zeros"),
    "attention.projection.weight": ((H, H), OUT_STD),
    "attention.projection.bias": ((H,), "zeros"),
    "mlpNorm.weight": ((H,), "ones"),
    "mlpNorm.bias": ((H,), "zeros"),
    "mlp.up.weight": ((4 * H, H), STD),
    "mlp.up.bias": ((4 * H,), "zeros"),
    "mlp.down.weight": ((H, 4 * H), OUT_STD),
    "mlp.down.bias": ((H,), "zeros"),
}
SHAPES = {
    "embedding.wordEmbeddings.weight": ((VOCAB, H), STD),
    "embedding.positionEmbeddings.weight": ((SEQ, H), STD),
    **{f"layers.{layer}.{suffix}": rule for layer in range(LAYERS) for suffix, rule in LAYER.items()},
    "finalNorm.weight": ((H,), "ones"),
    "finalNorm.bias": ((H,), "zeros"),
}


def drawn(name: str, shape, rule) -> np.ndarray:
    """The values the library gives a parameter."""
    if isinstance(rule, str):
        return np.full(shape, 1.0 if rule == "ones" else 0.0, dtype=np.float32)
    if not name.endswith("qkv.weight"):
        return philox.normal(SEED, name, shape, 0.0, rule)
    return np.concatenate([philox.normal(SEED, f"{name}.{part}", (H, H), 0.0, rule) for part in "qkv"])


def weights(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(drawn(name, *rule), dtype=dtype, requires_grad=True) for name, rule in SHAPES.items()}


def tokens() -> np.ndarray:
    """[steps, s + 1, b]: walks that a model can learn, t' = 5 t + 1 + noise in 0..3."""
    words = philox.words(SEED, "golden.tokens", STEPS * (SEQ + 1) * BATCH).astype(np.int64).reshape(STEPS, SEQ + 1, BATCH)
    walk = np.empty_like(words)
    walk[:, 0] = words[:, 0] % VOCAB
    for position in range(1, SEQ + 1):
        walk[:, position] = (5 * walk[:, position - 1] + 1 + (words[:, position] & 3)) % VOCAB
    return walk


def block(p: dict[str, torch.Tensor], at: str, x: torch.Tensor) -> torch.Tensor:
    """One pre-norm layer; x [s, b, h]."""
    normed = F.layer_norm(x, (H,), p[at + "attentionNorm.weight"], p[at + "attentionNorm.bias"])
    mixed = attention(F.linear(normed, p[at + "attention.qkv.weight"], p[at + "attention.qkv.bias"]), HEADS, True)
    x = x + F.linear(mixed, p[at + "attention.projection.weight"], p[at + "attention.projection.bias"])
    normed = F.layer_norm(x, (H,), p[at + "mlpNorm.weight"], p[at + "mlpNorm.bias"])
    wide = F.gelu(F.linear(normed, p[at + "mlp.up.weight"], p[at + "mlp.up.bias"]), approximate="tanh")
    return x + F.linear(wide, p[at + "mlp.down.weight"], p[at + "mlp.down.bias"])


def loss_of(p: dict[str, torch.Tensor], walk: np.ndarray) -> torch.Tensor:
    """Mean cross entropy of the next token."""
    inputs, targets = torch.tensor(walk[:-1]), torch.tensor(walk[1:])
    x = F.embedding(inputs, p["embedding.wordEmbeddings.weight"]) + p["embedding.positionEmbeddings.weight"][:, None]  # [s, b, h]
    for layer in range(LAYERS):
        x = block(p, f"layers.{layer}.", x)
    x = F.layer_norm(x, (H,), p["finalNorm.weight"], p["finalNorm.bias"])
    return F.cross_entropy((x @ p["embedding.wordEmbeddings.weight"].T).reshape(-1, VOCAB), targets.reshape(-1))


def train(dtype: torch.dtype, clip: float | None, data: np.ndarray) -> dict:
    """Losses and gradient norms of all steps, and the gradients of the first."""
    p = weights(dtype)
    decayed, plain = [w for w in p.values() if w.dim() > 1], [w for w in p.values() if w.dim() == 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=EPS)
    losses, norms, first = [], [], {}
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(p, data[step])
        loss.backward()
        if step == 0:
            first = {name: w.grad.detach().numpy().copy() for name, w in p.items()}
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(p.values()), math.inf if clip is None else clip)))
        losses.append(float(loss.detach()))
        optimizer.step()
    return {"losses": losses, "gradNorms": norms, "first": first}


def write() -> dict:
    """Writes the curves and the gradients; returns how far plain f32 is from what is written."""
    data = tokens()
    free, clipped = train(torch.float64, None, data), train(torch.float64, 1.0, data)
    single = {clip: train(torch.float32, clip, data) for clip in (None, 1.0)}
    config = {"seed": SEED, "hiddenSize": H, "numLayers": LAYERS, "numAttentionHeads": HEADS, "vocabSize": VOCAB, "maxSequenceLength": SEQ, "initStd": STD}
    config |= {"batch": BATCH, "lr": LEARNING_RATE, "betas": BETAS, "eps": EPS, "weightDecay": DECAY, "clipGradNorm": 1.0}
    curves = {"noClip": {k: free[k] for k in ("losses", "gradNorms")}, "clip": {k: clipped[k] for k in ("losses", "gradNorms")}}
    write_json("gpt-curves.json", {"config": config, **curves, "tokens": values(data)})
    gradients = free["first"]
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        write_safetensors(f"gpt-gradients-layer-{layer}.safetensors", {name: g for name, g in gradients.items() if name.startswith(at)})
    write_safetensors("gpt-gradients-ends.safetensors", {name: g for name, g in gradients.items() if not name.startswith("layers.")})
    worst = max(abs(a - b) for run, clip in ((free, None), (clipped, 1.0)) for a, b in zip(run["losses"], single[clip]["losses"]))
    return {"computed in": "f64", "largest distance of a curve in f32": worst}
