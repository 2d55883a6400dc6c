"""PyTorch's side of the bench `train`: waits for its turns and trains a GPT, one step each.

    python gpt_torch.py '{"hidden": 64, …, "threads": 2}' [--compile]

Pre-norm blocks with one linear layer for queries, keys and values, scaled_dot_product_attention, a GELU MLP of four times the
width, learned positions, a head tied to the word embedding, no dropout, fused AdamW, clipping to 1. Lines on standard input:
`turn`, `memory` or `end`; each is answered with a line of JSON.
"""
import json
import math
import sys
import time

sizes = json.loads(sys.argv[1])
is_compiled = "--compile" in sys.argv

import torch
from torch import nn
from torch.nn import functional as F

from measures import peak_bytes, run_queue_wait, say

torch.set_num_threads(sizes["threads"])
torch.manual_seed(1234)


def linear(inputs, outputs, std=0.02):
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    def __init__(self, hidden, heads, layers):
        super().__init__()
        output_std = 0.02 / math.sqrt(2 * layers)
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv, self.projection = linear(hidden, 3 * hidden), linear(hidden, hidden, output_std)
        self.up, self.down = linear(hidden, 4 * hidden), linear(4 * hidden, hidden, output_std)

    def forward(self, x):
        b, s, h = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, s, 3, self.heads, h // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [b, a, s, d]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(y.transpose(1, 2).reshape(b, s, h))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, hidden, layers, heads, vocab, seq, **_):
        super().__init__()
        self.words = nn.Parameter(torch.randn(vocab, hidden) * 0.02)
        self.positions = nn.Parameter(torch.randn(seq, hidden) * 0.02)
        self.blocks = nn.ModuleList(Block(hidden, heads, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)

    def forward(self, tokens, targets):
        x = F.embedding(tokens, self.words) + self.positions
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.words)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def tokens_of(step):
    """The tokens our side trains on: [b, s + 1]."""
    s, b = sizes["seq"], sizes["batch"]
    state, drawn = step + 1, []
    for _ in range((s + 1) * b):
        state = (state * 1664525 + 1013904223) % 2**32
        drawn.append((state >> 8) % sizes["vocab"])
    return torch.tensor(drawn).view(s + 1, b).t().contiguous()


model = GPT(**sizes)
forward = torch.compile(model) if is_compiled else model
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
data = [tokens_of(i) for i in range(4)]
version = torch.__version__.split("+")[0]
say({"who": f"PyTorch {version} {'compiled' if is_compiled else 'eager'}"})
step = 0
for line in sys.stdin:
    if line.strip() == "end":
        break
    if line.strip() == "memory":
        say({"peakBytes": peak_bytes()})
        continue
    waited, started = run_queue_wait(), time.perf_counter()
    text = data[step % len(data)]
    step += 1
    loss = forward(text[:, :-1], text[:, 1:])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    value = loss.item()
    seconds = time.perf_counter() - started
    say({"ms": seconds * 1000, "wait": (run_queue_wait() - waited) / seconds, "value": value})
