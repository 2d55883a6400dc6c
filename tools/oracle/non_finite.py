"""Writes packages/tensor/test/non-finite-values.ts: what PyTorch makes of NaN, infinities and the two zeros.

    python tools/oracle/non_finite.py && npx prettier --write packages/tensor/test/non-finite-values.ts
"""

import math
from pathlib import Path

import torch
from torch.nn import functional

from elementwise import BINARY, COMPARE, UNARY

INF, NAN = math.inf, math.nan
EDGES = [NAN, INF, -INF, 0.0, -0.0, 1.0, -2.5, 1e38]
ROWS = [[1.0, NAN, 2.0], [INF, 1.0, 2.0], [-INF, 1.0, 2.0], [INF, -INF, 0.0], [INF, INF, 1.0], [-INF, -INF, -INF]]

REDUCE = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}
NARROW = {"bf16": torch.bfloat16, "f16": torch.float16, "f64": torch.float64}


def number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 and math.copysign(1, value) < 0:
        return "-0"
    return repr(int(value)) if value == int(value) and abs(value) < 1e6 else repr(value)


def numbers(values: torch.Tensor) -> str:
    return f"[{', '.join(number(float(value)) for value in values.flatten())}]"


def table(name: str, doc: str, rows: dict[str, torch.Tensor]) -> str:
    lines = "".join(f"  {key}: {numbers(values)},\n" for key, values in rows.items())
    return f"\n/** {doc} */\nexport const {name} = {{\n{lines}}} as const;\n"


def slope(f, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    f(leaf).sum().backward()
    return leaf.grad


def main() -> None:
    torch.set_num_threads(1)
    edges, rows = torch.tensor(EDGES), torch.tensor(ROWS)
    left = edges.repeat_interleave(len(EDGES))
    right = edges.repeat(len(EDGES))
    targets = torch.ones(len(ROWS), dtype=torch.long)
    scale, shift = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.0, -0.5])
    rowwise = {
        "layerNorm": functional.layer_norm(rows, (3,), scale, shift),
        "crossEntropy": functional.cross_entropy(rows, targets, reduction="none"),
        "softmax": torch.softmax(rows, 1),
        "product": rows @ torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0]]),
    }
    text = "// Made by tools/oracle/non_finite.py: what PyTorch computes. The numbers are not ours to edit.\n"
    text += f"\n/** The inputs of unary operations and casts. */\nexport const edges = {numbers(edges)} as const;\n"
    text += f"\n/** The inputs of operations on rows, three columns each. */\nexport const rows = {numbers(rows)} as const;\n"
    text += table("unaryValues", "Unary operations of the edges.", {name: f(edges) for name, (f, *_) in UNARY.items()})
    text += table("unarySlopes", "Their gradients, for a gradient of ones.", {name: slope(f, edges) for name, (f, *_) in UNARY.items()})
    pairs = {name: f(left, right).float() for name, f in (BINARY | COMPARE).items()}
    text += table("binaryValues", "Binary operations of each edge with each edge.", pairs)
    text += table("rowReductions", "Reductions of each row.", {name: f(rows, 1) for name, f in REDUCE.items()})
    text += table("columnReductions", "Reductions of each column.", {name: f(rows, 0) for name, f in REDUCE.items()})
    text += table("rowOperations", "Operations on rows.", rowwise)
    text += table("castValues", "The edges there and back.", {name: edges.to(dtype).double() for name, dtype in NARROW.items()})
    Path(__file__).parents[2].joinpath("packages/tensor/test/non-finite-values.ts").write_text(text)


if __name__ == "__main__":
    main()
