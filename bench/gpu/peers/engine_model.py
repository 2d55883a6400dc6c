"""A GPT or a Llama of Transformer Engine's layers, in PyTorch; embedding, head and loss as in `gpt_model.py` and `llama_model.py`."""
import torch
import transformer_engine.pytorch as te
from torch import nn
from torch.nn import functional as F


class EngineModel(nn.Module):
    def __init__(self, kind, hidden, layers, heads, keyHeads, ffn, vocab, seq, device, **_):
        super().__init__()
        is_gpt = kind == "gpt"
        common = dict(
            hidden_dropout=0.0,
            attention_dropout=0.0,
            self_attn_mask_type="causal",
            fuse_qkv_params=True,
            attn_input_format="bshd",
            params_dtype=torch.float32,
            device=device,
        )
        own = (
            dict(normalization="LayerNorm", activation="gelu", bias=True)
            if is_gpt
            else dict(num_gqa_groups=keyHeads, normalization="RMSNorm", activation="swiglu", bias=False)
        )
        self.blocks = nn.ModuleList(te.TransformerLayer(hidden, ffn, heads, layer_number=i + 1, **common, **own) for i in range(layers))
        self.words = nn.Parameter(torch.randn(vocab, hidden) * 0.02)
        self.norm = (nn.LayerNorm if is_gpt else nn.RMSNorm)(hidden, eps=1e-5)
        self.positions = nn.Parameter(torch.randn(seq, hidden) * 0.02) if is_gpt else None
        self.head = None if is_gpt else nn.Parameter(torch.randn(vocab, hidden) * 0.02)
        dim = hidden // heads
        angles = torch.arange(seq).float()[:, None] * 500_000.0 ** (-torch.arange(0, dim, 2).float() / dim)
        # As RotaryPositionEmbedding gives them: [s, 1, 1, d], pairs are (i, i + d / 2).
        self.register_buffer("angles", None if is_gpt else torch.cat((angles, angles), -1)[:, None, None])

    def forward(self, tokens, targets):
        x = F.embedding(tokens, self.words)
        if self.positions is not None:
            x = x + self.positions
        for block in self.blocks:
            x = block(x, rotary_pos_emb=self.angles)
        head = self.words if self.head is None else self.head
        return F.cross_entropy(F.linear(self.norm(x), head).flatten(0, 1), targets.flatten())
