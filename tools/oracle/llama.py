"""A small Llama, written plainly in PyTorch on the weights that the library draws."""

import numpy as np
import torch
import torch.nn.functional as F

import philox
import rotary
from fused import rms_norm
from golden_file import values, write_json, write_safetensors

SEED, STD = 77, 0.1
H, LAYERS, HEADS, KV, FFN, VOCAB, SEQ, BATCH = 32, 2, 4, 2, 48, 61, 16, 2
D = H // HEADS
OUT_STD = STD / (2 * LAYERS) ** 0.5
BASE, SCALING = 10000.0, {"kind": "llama3", "factor": 4, "lowFrequencyFactor": 1, "highFrequencyFactor": 4, "originalMaxSequenceLength": 64}


def drawn() -> dict[str, np.ndarray]:
    """The values the library gives the parameters; q, k and v are draws of their own in one weight."""
    normal = lambda name, rows, cols, std=STD: philox.normal(SEED, name, (rows, cols), 0.0, std)
    found = {"embedding.wordEmbeddings.weight": normal("embedding.wordEmbeddings.weight", VOCAB, H)}
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        found[at + "attentionNorm.weight"] = np.ones(H, dtype=np.float32)
        qkv = at + "attention.qkv.weight"
        found[qkv] = np.concatenate([normal(f"{qkv}.{part}", rows, H) for part, rows in (("q", H), ("k", KV * D), ("v", KV * D))])
        found[at + "attention.projection.weight"] = normal(at + "attention.projection.weight", H, H, OUT_STD)
        found[at + "mlpNorm.weight"] = np.ones(H, dtype=np.float32)
        up = at + "mlp.up.weight"
        found[up] = np.concatenate([normal(f"{up}.{part}", FFN, H) for part in ("gate", "up")])
        found[at + "mlp.down.weight"] = normal(at + "mlp.down.weight", H, FFN, OUT_STD)
    found["finalNorm.weight"] = np.ones(H, dtype=np.float32)
    found["head.weight"] = normal("head.weight", VOCAB, H)
    return found


def attend(qkv: torch.Tensor) -> torch.Tensor:
    """[s, b, (a + 2g) · d] -> [s, b, a · d]."""
    q, k, v = (part.reshape(SEQ, BATCH, -1, D) for part in qkv.split([H, KV * D, KV * D], -1))
    turns = rotary.llama3(D, BASE, 4, 1, 4, 64)
    q, k, v = (x.permute(1, 2, 0, 3) for x in (rotary.rotate(q, turns), rotary.rotate(k, turns), v))  # [b, heads, s, d]
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return mixed.permute(2, 0, 1, 3).reshape(SEQ, BATCH, H)


def losses(p: dict[str, torch.Tensor], tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Loss of each token, [s, b]."""
    x = F.embedding(tokens, p["embedding.wordEmbeddings.weight"])
    for layer in range(LAYERS):
        at = lambda name: p[f"layers.{layer}.{name}.weight"]
        x = x + F.linear(attend(F.linear(rms_norm(x, at("attentionNorm"), 1e-5), at("attention.qkv"))), at("attention.projection"))
        gate, up = F.linear(rms_norm(x, at("mlpNorm"), 1e-5), at("mlp.up")).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, at("mlp.down"))
    logits = F.linear(rms_norm(x, p["finalNorm.weight"], 1e-5), p["head.weight"])
    return F.cross_entropy(logits.reshape(-1, VOCAB), targets.reshape(-1), reduction="none").reshape(SEQ, BATCH)


def write() -> None:
    """Losses of one batch and the gradients of their mean, in f64."""
    walk = (philox.words(SEED, "golden.tokens", (SEQ + 1) * BATCH).astype(np.int64) % VOCAB).reshape(SEQ + 1, BATCH)
    p = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in drawn().items()}
    found = losses(p, torch.tensor(walk[:-1]), torch.tensor(walk[1:]))
    found.mean().backward()
    config = {"vocabSize": VOCAB, "maxSequenceLength": SEQ, "hiddenSize": H, "numLayers": LAYERS, "numAttentionHeads": HEADS}
    config |= {"numKeyValueHeads": KV, "ffnHiddenSize": FFN, "initStd": STD, "rotary": {"base": BASE, "scaling": SCALING}}
    write_json("llama.json", {"seed": SEED, "batch": BATCH, "config": config, "tokens": values(walk), "losses": values(found.detach().numpy())})
    write_safetensors("llama-gradients.safetensors", {name: weight.grad.numpy() for name, weight in p.items()})
