"""Reductions, views, products of matrices and gathers."""

import torch

from case import Input, case

REDUCE = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}


def reducing() -> list[dict]:
    cases = []
    for op, compute in REDUCE.items():
        for shape, dims, keep in [((6,), [0], False), ((3, 5), [1], False), ((3, 5), [0], True), ((2, 3, 7), [0, 2], False), ((2, 3, 7), [-2], True), ((4, 3), None, False)]:
            every = list(range(len(shape))) if dims is None else dims
            cases.append(case(op, [Input(*shape)], lambda x, f=compute, d=every, k=keep: f(x, dim=d, keepdim=k), dims=dims, keepDims=keep))
    tied = [Input(2, 3, data=[1, 3, 3, 2, 2, 2])]
    cases.append(case("max", tied, lambda x: torch.amax(x, dim=1), dims=[1], keepDims=False))
    cases.append(case("min", tied, lambda x: torch.amin(x, dim=1), dims=[1], keepDims=False))
    return cases


def views() -> list[dict]:
    cases = []
    for shape, target in [((6,), [2, 3]), ((2, 3, 4), [6, -1]), ((5, 1), [5])]:
        cases.append(case("reshape", [Input(*shape)], lambda x, t=target: x.reshape(t), shape=target))
    for shape, order in [((2, 5), [1, 0]), ((2, 3, 4), [2, 0, 1]), ((2, 1, 3, 2), [3, -3, 0, 2])]:
        cases.append(case("permute", [Input(*shape)], lambda x, o=order: x.permute(o), order=order))
    for shape, dims in [((3, 4), [0, 1]), ((2, 3, 5), [-1, 0])]:
        cases.append(case("transpose", [Input(*shape)], lambda x, d=dims: x.transpose(*d), dims=dims))
    for shape, dim, start, end in [((7,), 0, 2, 5), ((3, 5), 1, 0, 4), ((2, 5, 3), -2, 3, 5), ((4, 2), 0, 1, 1)]:
        cases.append(case("slice", [Input(*shape)], lambda x, d=dim, s=start, e=end: x.narrow(d, s, e - s), dim=dim, start=start, end=end))
    for shape, target in [((1, 3), [4, 3]), ((3, 1), [2, 3, 5]), ((), [2, 2])]:
        cases.append(case("expand", [Input(*shape)], lambda x, t=target: x.expand(t), shape=target))
    for shapes, dim in [(((2, 3), (4, 3)), 0), (((2, 1, 3), (2, 4, 3), (2, 2, 3)), 1), (((5,),), 0), (((2, 3), (2, 2)), -1)]:
        cases.append(case("cat", [Input(*shape) for shape in shapes], lambda *x, d=dim: torch.cat(x, d), dim=dim))
    for shape, index, dim in [((5,), (3,), 0), ((3, 4), (3, 6), 1), ((4, 2, 3), (5, 2, 3), 0)]:
        inputs = [Input(*shape), Input(*index, low=0, high=shape[dim], dtype="i32")]
        cases.append(case("gather", inputs, lambda x, i, d=dim: x.gather(d, i), dim=dim))
    return cases


def products() -> list[dict]:
    cases = []
    shapes = [((3, 4), (4, 5)), ((2, 3, 7), (2, 7, 1)), ((2, 1, 3, 4), (3, 4, 2)), ((3, 5), (2, 5, 4)), ((2, 3, 3, 5), (5, 2)), ((1, 17), (17, 19))]
    for a, b in shapes:
        cases.append(case("matmul", [Input(*a), Input(*b)], torch.matmul))
    for x, w in [((4, 3), (5, 3)), ((3, 2, 7), (9, 7)), ((17,), (1, 17))]:
        cases.append(case("linear", [Input(*x), Input(*w)], torch.nn.functional.linear))
        cases.append(case("linear", [Input(*x), Input(*w), Input(w[0])], torch.nn.functional.linear))
    return cases
