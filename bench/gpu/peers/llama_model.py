"""A Llama in PyTorch: RMS norms, rotated queries and keys, grouped keys and values, SwiGLU, no biases, a head of its own."""
import math

import torch
from torch import nn
from torch.nn import functional as F


def weight(outputs, inputs, std=0.02):
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=std)
    return layer


def turned(x, cosines, sines):
    """x [b, heads, s, d]; pairs are (i, i + d / 2)."""
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cosines - b * sines, b * cosines + a * sines), -1).to(x.dtype)


class Block(nn.Module):
    def __init__(self, hidden, heads, keyHeads, ffn, layers):
        super().__init__()
        output_std = 0.02 / math.sqrt(2 * layers)
        self.heads, self.key_heads, self.dim = heads, keyHeads, hidden // heads
        self.norm1, self.norm2 = nn.RMSNorm(hidden, eps=1e-5), nn.RMSNorm(hidden, eps=1e-5)
        self.qkv = weight((heads + 2 * keyHeads) * self.dim, hidden)
        self.projection = weight(hidden, hidden, output_std)
        self.up = weight(2 * ffn, hidden)
        self.down = weight(hidden, ffn, output_std)

    def forward(self, x, cosines, sines):
        b, s, _ = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, s, -1, self.dim).transpose(1, 2)  # [b, a + 2 g, s, d]
        q, k, v = qkv.split([self.heads, self.key_heads, self.key_heads], 1)
        q, k = turned(q, cosines, sines), turned(k, cosines, sines)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.projection(y.transpose(1, 2).reshape(b, s, -1))
        gate, value = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * value)


class Llama(nn.Module):
    def __init__(self, hidden, layers, heads, keyHeads, ffn, vocab, seq, **_):
        super().__init__()
        self.words = nn.Parameter(torch.randn(vocab, hidden) * 0.02)
        self.head = nn.Parameter(torch.randn(vocab, hidden) * 0.02)
        self.blocks = nn.ModuleList(Block(hidden, heads, keyHeads, ffn, layers) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden, eps=1e-5)
        dim = hidden // heads
        frequencies = 500_000.0 ** (-torch.arange(0, dim, 2).float() / dim)
        angles = torch.arange(seq).float()[:, None] * frequencies
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())

    def forward(self, tokens, targets):
        x = F.embedding(tokens, self.words)
        for block in self.blocks:
            x = block(x, self.cosines, self.sines)
        return F.cross_entropy(F.linear(self.norm(x), self.head).flatten(0, 1), targets.flatten())
