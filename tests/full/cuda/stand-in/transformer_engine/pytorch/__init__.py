"""Stands in for Transformer Engine on machines without CUDA: the layer that the pack asks for, of PyTorch's own functions.

It takes what the real layer takes, by the same names, and nothing else.
"""
import torch
from torch import nn
from torch.nn import functional as F


def turned(x, angles):
    """x [b, s, heads, d], angles [s, 1, 1, d]; pairs are (i, i + d / 2)."""
    angles = angles.permute(1, 0, 2, 3)  # [1, s, 1, d]
    a, b = x.chunk(2, -1)
    return x * angles.cos().to(x.dtype) + torch.cat((-b, a), -1) * angles.sin().to(x.dtype)


class TransformerLayer(nn.Module):
    def __init__(
        self,
        hidden_size,
        ffn_hidden_size,
        num_attention_heads,
        num_gqa_groups=None,
        hidden_dropout=0.1,
        attention_dropout=0.1,
        layer_number=None,
        self_attn_mask_type="causal",
        params_dtype=None,
        fuse_qkv_params=False,
        bias=True,
        activation="gelu",
        normalization="LayerNorm",
        device="cuda",
        attn_input_format="sbhd",
    ):
        super().__init__()
        asked = (hidden_dropout, attention_dropout, self_attn_mask_type, fuse_qkv_params, attn_input_format)
        if asked != (0.0, 0.0, "causal", True, "bshd"):
            raise ValueError(f"the stand-in does not know {asked}")
        given = dict(bias=bias, dtype=params_dtype, device=device)
        self.heads, self.groups = num_attention_heads, num_gqa_groups or num_attention_heads
        self.dim, self.is_gated = hidden_size // num_attention_heads, activation == "swiglu"
        norm = {"LayerNorm": nn.LayerNorm, "RMSNorm": nn.RMSNorm}[normalization]
        self.norm1, self.norm2 = (norm(hidden_size, eps=1e-5, device=device) for _ in range(2))
        self.qkv = nn.Linear(hidden_size, (self.heads + 2 * self.groups) * self.dim, **given)
        self.projection = nn.Linear(hidden_size, hidden_size, **given)
        self.up = nn.Linear(hidden_size, (2 if self.is_gated else 1) * ffn_hidden_size, **given)
        self.down = nn.Linear(ffn_hidden_size, hidden_size, **given)

    def forward(self, hidden_states, rotary_pos_emb=None):
        x = hidden_states
        b, s, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, s, -1, self.dim).split([self.heads, self.groups, self.groups], 2)
        if rotary_pos_emb is not None:
            q, k = turned(q, rotary_pos_emb), turned(k, rotary_pos_emb)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.projection(y.transpose(1, 2).reshape(b, s, -1))
        up = self.up(self.norm2(x))
        if self.is_gated:
            gate, value = up.chunk(2, -1)
            return x + self.down(F.silu(gate) * value)
        return x + self.down(F.gelu(up, approximate="tanh"))
