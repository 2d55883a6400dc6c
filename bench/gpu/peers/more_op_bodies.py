"""Operations of the pack that the bench `ops` does not time, in PyTorch."""
import torch
from torch.nn import functional as F

from op_bodies import BODIES


def rotary(make, seq, batch, heads, keyHeads, dim, interleaved):
    qkv = make((seq, batch, (heads + 2 * keyHeads) * dim))
    table = make((seq, dim), dtype=torch.float32, is_differentiated=False)
    cosines, sines = (part.view(seq, 1, 1, dim // 2) for part in table.chunk(2, -1))

    def apply():
        x = qkv.view(seq, batch, heads + 2 * keyHeads, dim)
        turned, kept = x[:, :, : heads + keyHeads].float(), x[:, :, heads + keyHeads :]
        a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
        pair = (a * cosines - b * sines, b * cosines + a * sines)
        turned = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
        return torch.cat([turned.to(qkv.dtype), kept], 2).reshape(qkv.shape)

    return apply


def grouped_attention(make, seq, batch, heads, keyHeads, dim):
    qkv = make((seq, batch, (heads + 2 * keyHeads) * dim))

    def apply():
        x = qkv.view(seq, batch, heads + 2 * keyHeads, dim).permute(1, 2, 0, 3)  # [b, a + 2 g, s, d]
        q, k, v = x.split([heads, keyHeads, keyHeads], 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return y.permute(2, 0, 1, 3).reshape(seq, batch, heads * dim)

    return apply


BODIES = {**BODIES, "rotary": rotary, "groupedAttention": grouped_attention}
