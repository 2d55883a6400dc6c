"""One rank of PyTorch's side in the bench `train-parallel`: the GPT of `gpt_model.py` over gloo.

    RANK=0 WORLD_SIZE=2 python gpt_world_torch.py <socket> <file store> '{"hidden": 64, …}' tp|dp
"""
import json
import os
import sys

import torch
import torch.distributed as dist
from torch import nn

from gpt_model import GPT, Training, tokens_of
from turns import obey

path, store, text, layout = sys.argv[1:]
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.set_num_threads(1)
torch.manual_seed(1234 + (rank if layout == "tp" else 0))
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
sizes = json.loads(text)
if layout == "tp":
    model = forward = GPT(**sizes, tp=size, rank=rank)
    dist.broadcast(model.positions.data, 0)
    data = [tokens_of(i, sizes) for i in range(4)]
else:
    sizes["batch"] //= size
    model = GPT(**sizes)
    forward = nn.parallel.DistributedDataParallel(model)
    data = [tokens_of(4 * rank + i, sizes) for i in range(4)]
training = Training(model, forward, data)


def turn(_, clock):
    losses = []
    clock(lambda: losses.append(training.step()))
    mean = torch.tensor([losses[-1]])
    dist.all_reduce(mean)
    return mean.item() / size


obey(path, rank, f"gloo of PyTorch {torch.__version__.split('+')[0]}", turn)
dist.destroy_process_group()
