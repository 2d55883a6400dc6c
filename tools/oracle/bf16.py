"""Operations on bf16 tensors as PyTorch's own CPU kernels compute them: f32 inside, rounded to bf16 on the way out."""

import torch
import torch.nn.functional as F

import philox
from case import SEED
from golden_file import values


def case(op: str, shapes: list[tuple[int, ...]], compute, low: float = -2.0, high: float = 2.0, **args) -> dict:
    """Runs `compute(*tensors)` in bf16 on numbers that bf16 can hold; a gradient of that kind comes back."""
    name = f"bf16 {op}({', '.join('x'.join(map(str, shape)) for shape in shapes)}{''.join(f', {k}={v}' for k, v in args.items())})"
    draw = lambda part, shape, low, high: torch.tensor(philox.uniform(SEED, f"{name}.{part}", shape, low, high)).bfloat16()
    inputs = [draw(str(index), shape, low, high).requires_grad_() for index, shape in enumerate(shapes)]
    output = compute(*inputs)
    assert output.dtype == torch.bfloat16
    grad = draw("grad", tuple(output.shape), -1.0, 1.0)
    output.backward(grad)
    data = lambda tensor: values(tensor.detach().float().numpy())
    return {
        "op": op,
        "name": name,
        "args": args,
        "output": {"shape": list(output.shape), "data": data(output)},
        "outputGrad": data(grad),
        "inputs": [{"dtype": "bf16", "shape": list(x.shape), "data": data(x), "grad": data(x.grad)} for x in inputs],
    }


def attention(qkv: torch.Tensor, heads: int, causal: bool) -> torch.Tensor:
    """[s, b, 3 · a · d] -> [s, b, a · d]."""
    seq, batch, width = qkv.shape
    dim = width // (3 * heads)
    q, k, v = (part.reshape(seq, batch, heads, dim).permute(1, 2, 0, 3) for part in qkv.chunk(3, dim=-1))  # [b, a, s, d]
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).permute(2, 0, 1, 3).reshape(seq, batch, heads * dim)


def bf16() -> list[dict]:
    cases = []
    for rows, inner, cols in [(5, 8, 3), (9, 40, 17)]:
        cases.append(case("linear", [(rows, inner), (cols, inner), (cols,)], F.linear))
    for shape in [(4, 5), (3, 2, 33)]:
        vector = (shape[-1],)
        cases.append(case("gelu", [shape], lambda x: F.gelu(x, approximate="tanh")))
        cases.append(case("layerNorm", [shape, vector, vector], lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, 1e-5), eps=1e-5))
        cases.append(case("rmsNorm", [shape, vector], lambda x, w: F.rms_norm(x, (x.shape[-1],), w, 1e-5), eps=1e-5))
    for seq, batch, heads, dim in [(5, 2, 2, 4), (17, 1, 3, 8)]:
        for causal in (True, False):
            compute = lambda x, h=heads, c=causal: attention(x, h, c)
            cases.append(case("selfAttention", [(seq, batch, 3 * heads * dim)], compute, numHeads=heads, causal=causal))
    return cases
