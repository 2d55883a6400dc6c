"""PyTorch's gloo in the bench `collectives`.

    RANK=0 WORLD_SIZE=2 python collectives_torch.py <socket> <file store>
"""
import os
import sys

import torch
import torch.distributed as dist

from turns import collective_turn, obey

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=size)


def operation_of(op, size_in_bytes, value):
    count = size_in_bytes // 4
    whole, part = torch.full((count,), value), torch.full((count // size,), value)
    gathered, received, scattered = torch.empty(count), torch.empty(count), torch.empty(count // size)

    def all_reduce():
        dist.all_reduce(whole)
        return whole

    def all_gather():
        dist.all_gather_into_tensor(gathered, part)
        return gathered

    def reduce_scatter():
        dist.reduce_scatter_tensor(scattered, whole)
        return scattered

    def exchange():
        ops = [dist.P2POp(dist.isend, whole, (rank + 1) % size), dist.P2POp(dist.irecv, received, (rank - 1) % size)]
        for work in dist.batch_isend_irecv(ops):
            work.wait()
        return received

    return {"allReduce": all_reduce, "allGather": all_gather, "reduceScatter": reduce_scatter, "exchange": exchange}[op]


obey(sys.argv[1], rank, f"gloo of PyTorch {torch.__version__.split('+')[0]}", collective_turn(operation_of))
dist.destroy_process_group()
