"""The GPT of PyTorch's side in the benches `train` and `train-parallel`, and what a step of it does.

Pre-norm blocks with one linear layer for queries, keys and values, scaled_dot_product_attention, a GELU MLP of four times the
width, learned positions, a head tied to the word embedding, no dropout, fused AdamW, clipping to 1.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

from tensor_parallel import ColumnParallelLinear, CopyTo, RowParallelLinear, VocabParallelCrossEntropy, embed


def linear(inputs, outputs, std=0.02, kind=nn.Linear):
    layer = kind(inputs, outputs)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    def __init__(self, hidden, heads, layers, tp):
        super().__init__()
        output_std = 0.02 / math.sqrt(2 * layers)
        column, row = (ColumnParallelLinear, RowParallelLinear) if tp > 1 else (nn.Linear, nn.Linear)
        self.heads, self.head_size = heads // tp, hidden // heads
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv = linear(hidden, 3 * hidden // tp, kind=column)
        self.projection = linear(hidden // tp, hidden, output_std, row)
        self.up = linear(hidden, 4 * hidden // tp, kind=column)
        self.down = linear(4 * hidden // tp, hidden, output_std, row)

    def forward(self, x):
        b, s, _ = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, s, 3, self.heads, self.head_size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [b, a, s, d]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(y.transpose(1, 2).reshape(b, s, -1))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    """With `tp` above 1, the part of rank `rank` of a model whose layers are cut into `tp` parts."""

    def __init__(self, hidden, layers, heads, vocab, seq, tp=1, rank=0, **_):
        super().__init__()
        self.tp, self.rank = tp, rank
        self.words = nn.Parameter(torch.randn(vocab // tp, hidden) * 0.02)
        self.positions = nn.Parameter(torch.randn(seq, hidden) * 0.02)
        self.blocks = nn.ModuleList(Block(hidden, heads, layers, tp) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, tokens, targets):
        found = embed(tokens, self.words, self.rank) if self.tp > 1 else F.embedding(tokens, self.words)
        x = found + self.positions
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.tp == 1:
            return F.cross_entropy(F.linear(x, self.words).flatten(0, 1), targets.flatten())
        logits = F.linear(CopyTo.apply(x), self.words)
        return VocabParallelCrossEntropy.apply(logits.flatten(0, 1), targets.flatten(), self.rank)


def tokens_of(step, sizes):
    """The tokens our side trains on: [b, s + 1]."""
    s, b = sizes["seq"], sizes["batch"]
    state, drawn = step + 1, []
    for _ in range((s + 1) * b):
        state = (state * 1664525 + 1013904223) % 2**32
        drawn.append((state >> 8) % sizes["vocab"])
    return torch.tensor(drawn).view(s + 1, b).t().contiguous()


class Training:
    """`forward` is the model, or what wraps it."""

    def __init__(self, model, forward, data, dtype="f32", device="cpu"):
        self.parameters, self.forward, self.data, self.steps = list(model.parameters()), forward, data, 0
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=dtype == "bf16")
        self.optimizer = torch.optim.AdamW(self.parameters, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(self):
        text = self.data[self.steps % len(self.data)]
        self.steps += 1
        with self.autocast:
            loss = self.forward(text[:, :-1], text[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()
