"""Inputs of PyTorch's operations, with the values of our side: those of `ops/values.ts`."""
import torch

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def mixed(count, seed):
    """32 bits of each number and the seed."""
    word = torch.arange(1, count + 1) * 0x9E3779B1 + (seed + 1) * 0x85EBCA77 & 0xFFFFFFFF
    word = (word ^ word >> 15) * 0x2C1B3C6D & 0xFFFFFFFF
    word = (word ^ word >> 12) * 0x297A2D39 & 0xFFFFFFFF
    return word ^ word >> 15


class Inputs:
    """Makes the inputs of one row, with the values of our side."""

    def __init__(self, dtype, with_backward):
        self.dtype, self.with_backward, self.made, self.differentiated = dtype, with_backward, 0, []

    def __call__(self, shape, scale=1.0, shift=0.0, dtype=None, arrange=lambda x: x, is_differentiated=True):
        count = torch.Size(shape).numel()
        values = (mixed(count, self.made).double() / 2**31 - 1) * scale + shift if scale else torch.full((count,), shift)
        x = arrange(values.view(shape)).to(torch.float32).to(dtype or self.dtype)
        if self.with_backward and is_differentiated:
            self.differentiated.append(x.requires_grad_())
        return self.keep(x)

    def indices(self, shape, limit):
        return self.keep((mixed(torch.Size(shape).numel(), self.made) % limit).view(shape))

    def keep(self, x):
        self.made += 1
        return x


def as_list(result):
    return result if isinstance(result, list) else [result]


def grad_of(make, output, op):
    if output.dim() == 1:
        return torch.full_like(output, 1 / len(output))
    arrange = (lambda x: x.transpose(0, 1).contiguous()) if op == "attention" else (lambda x: x)
    shape = (output.shape[1], output.shape[0], *output.shape[2:]) if op == "attention" else output.shape
    return make(shape, dtype=output.dtype, arrange=arrange, is_differentiated=False)
