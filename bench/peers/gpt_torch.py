"""PyTorch's side of the bench `train`: waits for its turns and trains the GPT of `gpt_model.py`, one step each.

    python gpt_torch.py '{"hidden": 64, …, "threads": 2, "dtype": "f32"}' [--compile]

With "bf16" under autocast: parameters and optimizer stay f32. Lines on standard input: `turn`, `memory` or `end`; each is answered
with a line of JSON.
"""
import json
import sys
import time

import torch

from gpt_model import GPT, Training, tokens_of
from measures import peak_bytes, run_queue_wait, say

sizes = json.loads(sys.argv[1])
is_compiled = "--compile" in sys.argv
torch.set_num_threads(sizes["threads"])
torch.manual_seed(1234)
model = GPT(**sizes)
training = Training(model, torch.compile(model) if is_compiled else model, [tokens_of(i, sizes) for i in range(4)], sizes["dtype"])
version = torch.__version__.split("+")[0]
say({"who": f"PyTorch {version} {'compiled' if is_compiled else 'eager'}"})
for line in sys.stdin:
    if line.strip() == "end":
        break
    if line.strip() == "memory":
        say({"peakBytes": peak_bytes()})
        continue
    waited, started = run_queue_wait(), time.perf_counter()
    value = training.step()
    seconds = time.perf_counter() - started
    say({"ms": seconds * 1000, "wait": (run_queue_wait() - waited) / seconds, "value": value})
