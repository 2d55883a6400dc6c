"""One case of one operation: inputs drawn by name, output and gradients in f64 rounded to f32."""

import numpy as np
import torch

import philox
from golden_file import values

SEED = 20240607


class Input:
    """An input of a case. Floating inputs are drawn in [low, high) and get a gradient; `data` fixes the values instead."""

    def __init__(self, *shape: int, low: float = -2.0, high: float = 2.0, data=None, dtype: str = "f32"):
        self.shape, self.low, self.high, self.data, self.dtype = shape, low, high, data, dtype

    def draw(self, name: str) -> np.ndarray:
        if self.data is not None:
            return np.asarray(self.data, dtype={"f32": np.float32, "i32": np.int32, "u8": np.uint8}[self.dtype]).reshape(self.shape)
        drawn = philox.uniform(SEED, name, self.shape, self.low, self.high)
        return drawn if self.dtype == "f32" else np.floor(drawn).astype({"i32": np.int32, "u8": np.uint8}[self.dtype])


def case(op: str, inputs: list[Input], compute, **args) -> dict:
    """Runs `compute(*tensors)` in f64 and records what a test needs to repeat it."""
    name = f"{op}({', '.join('x'.join(map(str, i.shape)) or 'scalar' for i in inputs)}{''.join(f', {k}={v}' for k, v in args.items())})"
    arrays = [given.draw(f"{name}.{index}") for index, given in enumerate(inputs)]
    tensors = [torch.tensor(a, dtype=torch.float64, requires_grad=True) if a.dtype == np.float32 else torch.tensor(a.astype(np.int64)) for a in arrays]
    output = compute(*tensors)
    differentiable = output.requires_grad
    record = {"op": op, "name": name, "args": args, "output": {"shape": list(output.shape), "data": values(output.detach().numpy())}}
    if differentiable:
        grad = philox.uniform(SEED, f"{name}.grad", tuple(output.shape), -1.0, 1.0)
        output.backward(torch.tensor(grad, dtype=torch.float64))
        record["outputGrad"] = values(grad)
    record["inputs"] = [
        {"dtype": given.dtype, "shape": list(given.shape), "data": values(array)}
        | ({"grad": values((torch.zeros_like(t) if t.grad is None else t.grad).numpy())} if differentiable and given.dtype == "f32" else {})
        for given, array, t in zip(inputs, arrays, tensors)
    ]
    return record
