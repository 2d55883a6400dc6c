"""PyTorch's side of parts 2 and 5: the values of operations, and how long they take."""
import time

import torch

from gpu_answer import DEVICE, answer, on_device, wait
from more_op_bodies import BODIES
from op_inputs import DTYPES, Inputs, as_list, grad_of

TURN_LASTS = 0.04


class Prepared:
    """An operation with its inputs; `run` returns its results and then the gradients of its inputs."""

    def __init__(self, op, sizes, dtype, withBackward):
        self.op, self.with_backward = op, withBackward
        make = Inputs(DTYPES[dtype], withBackward)
        body = BODIES[op](make, **sizes)
        if withBackward:
            grads = [grad_of(make, output, op) for output in as_list(body())]

            def run():
                outputs = as_list(body())
                return [*outputs, *torch.autograd.grad(outputs, make.differentiated, grads)]

            self.run = run
        else:
            self.run = torch.no_grad()(lambda: as_list(body()))

    def values(self):
        """On the CPU in f32, with the sequence before the batch as our side has it."""
        swaps = self.op == "attention"
        results = [x if torch.is_tensor(x) else torch.tensor([x]) for x in self.run()]
        return [(x.transpose(0, 1) if swaps else x).detach().to("cpu", torch.float32).contiguous() for x in results]

    def time_of(self, repeats):
        wait()
        started = time.perf_counter()
        for _ in range(repeats):
            self.run()
        wait()
        return (time.perf_counter() - started) / repeats

    def calibrate(self):
        for _ in range(3):
            self.run()
        self.repeats = max(1, round(TURN_LASTS / self.time_of(3)))


prepared = None


def name():
    return torch.cuda.get_device_name() if DEVICE != "cpu" else "CPU"


def values(setting, file):
    with on_device():
        results = Prepared(**setting).values()
    with open(file, "wb") as out:
        for x in results:
            out.write(memoryview(x.view(-1).numpy()))
    return {"lengths": [x.numel() for x in results], "device": name()}


def prepare(setting):
    global prepared
    prepared = None
    if DEVICE != "cpu":
        torch.cuda.empty_cache()
    with on_device():
        prepared = Prepared(**setting)
    prepared.calibrate()
    return {"device": name()}


def turn():
    return {"us": prepared.time_of(prepared.repeats) * 1e6}


answer({"values": values, "prepare": prepare, "turn": turn})
