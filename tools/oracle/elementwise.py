"""Unary, binary, comparing and choosing operations."""

import torch
import torch.nn.functional as F

from case import Input, case

UNARY = {
    "neg": (torch.neg, -2, 2),
    "exp": (torch.exp, -4, 4),
    "log": (torch.log, 0.05, 5),
    "sqrt": (torch.sqrt, 0.05, 5),
    "tanh": (torch.tanh, -4, 4),
    "sigmoid": (torch.sigmoid, -8, 8),
    "abs": (torch.abs, -2, 2),
    "relu": (torch.relu, -2, 2),
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), -4, 4),
    "geluErf": (F.gelu, -4, 4),
    "square": (torch.square, -2, 2),
    "reciprocal": (torch.reciprocal, 0.2, 4),
    "silu": (F.silu, -8, 8),
}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}
COMPARE = {"eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge}
PAIRS = [((3, 5), (3, 5)), ((4, 1, 3), (2, 1)), ((7,), (2, 3, 7)), ((), (2, 3))]


def unary() -> list[dict]:
    cases = []
    for op, (compute, low, high) in UNARY.items():
        cases += [case(op, [Input(*shape, low=low, high=high)], compute) for shape in [(5,), (3, 7), (2, 3, 17)]]
    for op in ("abs", "relu"):
        cases.append(case(op, [Input(3, data=[-1, 0, 2])], UNARY[op][0]))
    return cases


def binary() -> list[dict]:
    cases = []
    for op, compute in BINARY.items():
        low = 0.2 if op in ("div", "pow") else -2
        for a, b in PAIRS:
            cases.append(case(op, [Input(*a, low=low), Input(*b, low=low)], compute))
    tied = [Input(4, data=[1, 2, 3, 4]), Input(4, data=[1, 5, 3, -4])]
    cases += [case("maximum", tied, torch.maximum), case("minimum", tied, torch.minimum)]
    cases.append(case("pow", [Input(5, data=[0, 0, 2, 2, 0]), Input(5, data=[0, 2, 0, 3, 1])], torch.pow))
    for op in ("add", "sub", "mul", "div", "maximum", "minimum"):
        cases.append(case(op, [Input(3, 4)], lambda x, op=op: BINARY[op](x, torch.tensor(0.75, dtype=torch.float64)), scalar=0.75))
    for exponent in (0, 1, 2, 3, -1, 0.5):
        cases.append(case("pow", [Input(2, 3, low=0.2)], lambda x, e=exponent: x**e, scalar=exponent))
    cases.append(case("pow", [Input(4, data=[-2, -1, 0, 3])], lambda x: x**0, scalar=0))
    return cases


def choosing() -> list[dict]:
    cases = []
    for op, compute in COMPARE.items():
        whole = [Input(3, 4, low=0, high=3, dtype="i32"), Input(4, low=0, high=3, dtype="i32")]
        cases.append(case(op, whole, lambda a, b, f=compute: f(a, b).to(torch.uint8)))
        cases.append(case(op, [Input(2, 5), Input(2, 1)], lambda a, b, f=compute: f(a, b).to(torch.uint8)))
        cases.append(case(op, [Input(4, data=[-1, 0.5, 0.5, 2])], lambda a, f=compute: f(a, 0.5).to(torch.uint8), scalar=0.5))
    for condition, a, b in [((3, 4), (3, 4), (3, 4)), ((4,), (3, 1), (1, 4)), ((2, 1, 3), (), (5, 1))]:
        inputs = [Input(*condition, low=0, high=2, dtype="u8"), Input(*a), Input(*b)]
        cases.append(case("where", inputs, lambda c, x, y: torch.where(c.bool(), x, y)))
    return cases
