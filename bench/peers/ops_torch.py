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
from op_inputs import DTYPES, Inputs, as_list, grad_of

TURN_LASTS = 0.025


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
        self.repeats = self.calibrated()

    def calibrated(self):
        best, repeats = self.time_of(1), 2
        while best * repeats < TURN_LASTS:
            best = min(best, self.time_of(repeats))
            repeats *= 2
        return max(1, round(TURN_LASTS / best))

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
