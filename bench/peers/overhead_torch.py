"""PyTorch's side of the bench `overhead`: many passes through the chain of `chain.ts` each turn.

    python overhead_torch.py forward|both

The value of an answer is microseconds per operation, counted as our side counts them.
"""
import sys
import time

import torch

from measures import run_queue_wait, say

torch.set_num_threads(1)
LINKS, REPEATS = 100, 20
FORWARD_OPS, BACKWARD_OPS = 3 * LINKS + 1, 2 * LINKS + 1
with_backward = sys.argv[1] == "both"
x = torch.tensor([[0.1, -0.2, 0.3, -0.4]], requires_grad=True)


def chain():
    y = x
    for _ in range(LINKS):
        y = y.mul(0.9).add(0.1).tanh()
    return y.sum()


def one_pass():
    if with_backward:
        chain().backward()
        x.grad = None
        return
    with torch.no_grad():
        chain()


say({"who": f"PyTorch {torch.__version__.split('+')[0]} eager"})
operations = FORWARD_OPS + (BACKWARD_OPS if with_backward else 0)
for line in sys.stdin:
    if line.strip() == "end":
        break
    waited, started = run_queue_wait(), time.perf_counter()
    for _ in range(REPEATS):
        one_pass()
    seconds = time.perf_counter() - started
    per_op = seconds * 1e6 / (REPEATS * operations)
    say({"ms": seconds * 1000, "wait": (run_queue_wait() - waited) / seconds, "value": per_op})
