"""The operations of the bench `ops` in PyTorch: each makes its inputs in the order of our side and returns what a turn repeats."""
import torch
from torch.nn import functional as F

SMALL = {"scale": 0.02}
NEAR_ONE = {"scale": 0.1, "shift": 1.0}
POSITIVE = {"scale": 0.5, "shift": 1.0}
ARE_POSITIVE = {"log", "sqrt", "reciprocal", "div", "pow"}


def linear(make, rows, inputs, outputs):
    x, weight, bias = make((rows, inputs)), make((outputs, inputs), **SMALL), make((outputs,), **SMALL)
    return lambda: F.linear(x, weight, bias)


def linear_input_gradient(make, rows, inputs, outputs):
    grad, weight = make((rows, outputs)), make((outputs, inputs), **SMALL)
    return lambda: grad @ weight


def linear_weight_gradient(make, rows, inputs, outputs):
    grad, x = make((rows, outputs)), make((rows, inputs))
    make((outputs, inputs))
    return lambda: grad.t() @ x


def matmul(make, count, rows, inner, cols):
    a, b = make((count, rows, inner)), make((count, inner, cols))
    return lambda: a @ b


def bias_add(make, rows, cols):
    x, bias, residual = make((rows, cols)), make((cols,), **SMALL), make((rows, cols))
    return lambda: residual + (x + bias)


def drop(make, seq, batch, cols, dropout):
    x = make((seq, batch, cols))
    return lambda: F.dropout(x, dropout)


def bias_dropout_add(make, seq, batch, cols, dropout):
    x, bias, residual = make((seq, batch, cols)), make((cols,), **SMALL), make((seq, batch, cols))
    return lambda: residual + F.dropout(x + bias, dropout)


def bias_gelu(make, rows, cols):
    x, bias = make((rows, cols)), make((cols,), **SMALL)
    return lambda: F.gelu(x + bias, approximate="tanh")


def gated(gate):
    def body(make, rows, cols):
        x, bias = make((rows, 2 * cols)), make((2 * cols,), **SMALL)

        def apply():
            gates, values = (x + bias).chunk(2, -1)
            return gate(gates) * values

        return apply

    return body


def norm_vectors(make, cols):
    return make((cols,), **NEAR_ONE), make((cols,), **SMALL)


def layer_norm(make, rows, cols):
    x, (weight, bias) = make((rows, cols)), norm_vectors(make, cols)
    return lambda: F.layer_norm(x, (cols,), weight, bias, 1e-5)


def rms_norm(make, rows, cols):
    x, weight = make((rows, cols)), make((cols,), **NEAR_ONE)
    return lambda: F.rms_norm(x, (cols,), weight, 1e-5)


def add_norm(norm):
    def body(make, rows, cols):
        x, residual, added = make((rows, cols)), make((rows, cols)), make((cols,), **SMALL)
        vectors = norm_vectors(make, cols) if norm is F.layer_norm else (make((cols,), **NEAR_ONE),)

        def apply():
            total = residual + (x + added)
            return [total, norm(total, (cols,), *vectors, eps=1e-5)]

        return apply

    return body


def attention(make, seq, batch, heads, dim, causal, window=None, dropout=0.0):
    qkv = make((seq, batch, 3 * heads * dim), arrange=lambda x: x.transpose(0, 1).contiguous())  # [b, s, 3 · a · d]
    position = torch.arange(seq)
    distance = position[:, None] - position[None, :]
    mask = None if window is None else (distance >= 0) & (distance < window)

    def apply():
        q, k, v = qkv.view(batch, seq, 3, heads, dim).permute(2, 0, 3, 1, 4)  # each [b, a, s, d]
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal == 1 and mask is None)
        return y.transpose(1, 2).reshape(batch, seq, heads * dim)

    return apply


def embedding(make, rows, vocab, cols):
    weight, tokens = make((vocab, cols)), make.indices((rows,), vocab)
    return lambda: F.embedding(tokens, weight)


def cross_entropy(make, rows, vocab):
    logits, targets = make((rows, vocab)), make.indices((rows,), vocab)
    return lambda: F.cross_entropy(logits, targets, reduction="none")


def linear_cross_entropy(make, rows, vocab, cols):
    x, weight, targets = make((rows, cols)), make((vocab, cols), **SMALL), make.indices((rows,), vocab)
    return lambda: F.cross_entropy(F.linear(x, weight), targets, reduction="none")


def adam_w(make, numel):
    values, grad = make((numel,)), make((numel,))
    parameter = torch.nn.Parameter(values)
    parameter.grad = grad
    optimizer = torch.optim.AdamW([parameter], lr=3e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)

    def apply():
        optimizer.step()
        return parameter.detach()

    return apply


def sum_squares(make, numel):
    grad = make((numel,))
    return lambda: torch.linalg.vector_norm(grad).item()


def axpy(make, rows, cols):
    target, source = make((rows, cols)), make((rows, cols))
    return lambda: target.add_(source, alpha=1e-3)


def scale_in_place(make, rows, cols):
    target = make((rows, cols))
    return lambda: target.mul_(-1.0)


def copy(make, rows, cols):
    target, source = make((rows, cols)), make((rows, cols))
    return lambda: target.copy_(source)


def fill(make, rows, cols):
    target = make((rows, cols))
    return lambda: target.fill_(0.5)


def of_one(op, values=None):
    def body(make, rows, cols):
        x = make((rows, cols), **(values or {}))
        return lambda: op(x)

    return body


def of_two(op, values=None):
    def body(make, rows, cols, broadcast=0, scalar=0):
        a = make((rows, cols), **(values or {}))
        b = 0.9 if scalar else make((cols,) if broadcast else (rows, cols), **(values or {}))
        return lambda: op(a, b)

    return body


def reduction(op):
    def body(make, rows, cols, dim):
        x = make((rows, cols))
        return lambda: op(x) if dim == -1 else op(x, dim)

    return body


def where(make, rows, cols):
    a, b = make((rows, cols)), make((rows, cols))
    condition = make.keep(a.detach() > b.detach())
    return lambda: torch.where(condition, a, b)


def gather(make, rows, cols, picked):
    x, index = make((rows, cols)), make.indices((rows, picked), cols)
    return lambda: x.gather(1, index)


def view(op):
    def body(make, seq, batch, cols):
        x = make((seq, batch, cols))
        return lambda: op(x)

    return body


def expand(make, seq, batch, cols):
    x = make((seq, 1, cols))
    return lambda: x.expand(seq, batch, cols).contiguous()


def cat(make, seq, batch, cols):
    a, b = make((seq, batch, cols)), make((seq, batch, cols))
    return lambda: torch.cat([a, b], 2)


def cast(source, target):
    def body(make, rows, cols):
        x = make((rows, cols), dtype=source)
        return lambda: x.to(target)

    return body


UNARY = {
    **{name: getattr(torch, name) for name in ["neg", "exp", "log", "sqrt", "tanh", "sigmoid", "abs", "relu", "square", "reciprocal"]},
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "geluErf": F.gelu,
    "silu": F.silu,
}
BINARY = {name: getattr(torch, name) for name in ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"]}
REDUCE = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}

BODIES = {
    "linear": linear,
    "linearInputGradient": linear_input_gradient,
    "linearWeightGradient": linear_weight_gradient,
    "matmul": matmul,
    "biasAdd": bias_add,
    "dropout": drop,
    "biasDropoutAdd": bias_dropout_add,
    "biasGelu": bias_gelu,
    "biasSwiglu": gated(F.silu),
    "biasGeglu": gated(lambda x: F.gelu(x, approximate="tanh")),
    "layerNorm": layer_norm,
    "rmsNorm": rms_norm,
    "addLayerNorm": add_norm(F.layer_norm),
    "addRmsNorm": add_norm(F.rms_norm),
    "attention": attention,
    "embedding": embedding,
    "crossEntropy": cross_entropy,
    "linearCrossEntropy": linear_cross_entropy,
    "adamW": adam_w,
    "sumSquares": sum_squares,
    "axpy": axpy,
    "scaleInPlace": scale_in_place,
    "copy": copy,
    "fill": fill,
    "where": where,
    "gather": gather,
    "permute": view(lambda x: x.permute(1, 0, 2).contiguous()),
    "slice": view(lambda x: x[:, :, : x.shape[2] // 2].contiguous()),
    "expand": expand,
    "cat": cat,
    "toBf16": cast(torch.float32, torch.bfloat16),
    "toF32": cast(torch.bfloat16, torch.float32),
    **{name: of_one(op, POSITIVE if name in ARE_POSITIVE else None) for name, op in UNARY.items()},
    **{name: of_two(op, POSITIVE if name in ARE_POSITIVE else None) for name, op in BINARY.items()},
    **{name: reduction(op) for name, op in REDUCE.items()},
}
