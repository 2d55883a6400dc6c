"""PyTorch's side of the bench `ops`: prepares one operation after the other and runs each in its turns.

    python ops_torch.py <threads>

Lines on standard input: `prepare` and a setting, `turn` or `end`; each is answered with a line of JSON, as `ops/ours.ts` does.
"""
import json
import sys
import time

import torch

from measures import run_queue_wait, say
from op_bodies import BODIES

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
TURN_LASTS = 0.025


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
        values = ((mixed(count, self.made) / 2**31 - 1) * scale + shift) if scale else torch.full((count,), shift)
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


def magnitude(tensors):
    if isinstance(tensors[0], float):
        return tensors[0]
    return sum(x.detach().float().abs().mean().item() for x in tensors)


class Prepared:
    def __init__(self, op, sizes, dtype, withBackward, **_):
        make = Inputs(DTYPES[dtype], withBackward)
        body = BODIES[op](make, **sizes)
        if withBackward:
            grads = [grad_of(make, output, op) for output in as_list(body())]
            # Dense, as ours are and as `.backward()` leaves them in `.grad`: a view would only put its copy off.
            self.run = lambda: [grad.contiguous() for grad in torch.autograd.grad(as_list(body()), make.differentiated, grads)]
            self.check = magnitude(self.run())
        else:
            self.run = torch.no_grad()(body)
            self.check = magnitude(as_list(self.run()))
        self.run()
        self.repeats = max(1, round(TURN_LASTS / self.time_of(3)))

    def time_of(self, repeats):
        started = time.perf_counter()
        for _ in range(repeats):
            self.run()
        return (time.perf_counter() - started) / repeats


torch.set_num_threads(int(sys.argv[1]))
say({"who": f"PyTorch {torch.__version__.split('+')[0]} eager"})
prepared = None
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "end":
        break
    if word == "prepare":
        prepared = None
        try:
            prepared = Prepared(**json.loads(rest))
            say({"check": prepared.check})
        except RuntimeError as error:
            say({"refusal": str(error)})
        continue
    waited, started = run_queue_wait(), time.perf_counter()
    value = prepared.time_of(prepared.repeats) * 1e6
    seconds = time.perf_counter() - started
    say({"ms": seconds * 1000, "wait": (run_queue_wait() - waited) / seconds, "value": value})
