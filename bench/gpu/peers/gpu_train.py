"""PyTorch's side of parts 3 and 6: trains a GPT or a Llama, one step after the other, eager, compiled or of Transformer Engine's layers.

Parameters and optimizer are f32; with "bf16" products are computed under autocast.
"""
import array
import time

import torch

from gpt_model import GPT, Training, tokens_of
from gpu_answer import DEVICE, answer, on_device, wait
from llama_model import Llama

# Our names of a GPT's parameters, and those of `gpt_model.py`; `layers.N.` is `blocks.N.` there.
NAMES = {
    "embedding.wordEmbeddings.weight": "words",
    "embedding.positionEmbeddings": "positions",
    "finalNorm": "norm",
    "attentionNorm": "norm1",
    "mlpNorm": "norm2",
    "attention.qkv": "qkv",
    "attention.projection": "projection",
    "mlp.up": "up",
    "mlp.down": "down",
}

state = {}


def their_name(name):
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name.replace("layers.", "blocks.").removeprefix("embedding.").replace("positions.weight", "positions").replace("head.weight", "head")


def load(model, file, names, shapes):
    """The initial values of our side."""
    values = array.array("f")
    with open(file, "rb") as given:
        values.frombytes(given.read())
    flat, at, own = torch.frombuffer(values, dtype=torch.float32), 0, dict(model.named_parameters())
    for name, shape in zip(names, shapes):
        length = torch.Size(shape).numel()
        if name == "head.weight" and "head" not in own:  # tied: our side lists the word embedding a second time
            at += length
            continue
        parameter = own.pop(their_name(name))
        parameter.data.copy_(flat[at : at + length].view(parameter.shape))
        at += length
    if own:
        raise ValueError(f"no initial values for {', '.join(own)}")


def made(sizes, layers):
    if layers == "transformer-engine":
        from engine_model import EngineModel  # its library is on few machines

        return EngineModel(**sizes, device=DEVICE)
    return (GPT if sizes["kind"] == "gpt" else Llama)(**sizes)


def prepare(sizes, dtype, initial=None, layers="pytorch"):
    torch.manual_seed(1234)
    with on_device():
        model = made(sizes, layers)
        data = [tokens_of(i, sizes) for i in range(4)]
    if initial is not None:
        load(model, **initial)
    state["model"], state["training"] = model, Training(model, model, data, dtype, DEVICE)
    return {"device": DEVICE, "parameters": sum(x.numel() for x in model.parameters())}


def steps(count, mode):
    training = state["training"]
    if mode == "compile" and "compiled" not in state:
        state["compiled"] = torch.compile(state["model"])
    training.forward = state["model"] if mode == "eager" else state["compiled"]
    if DEVICE != "cpu":
        torch.cuda.reset_peak_memory_stats()
    losses, ms = [], []
    for _ in range(count):
        started = time.perf_counter()
        losses.append(training.step())
        ms.append((time.perf_counter() - started) * 1000)
    wait()
    return {"losses": losses, "ms": ms, "peakBytes": 0 if DEVICE == "cpu" else torch.cuda.max_memory_allocated()}


answer({"prepare": prepare, "steps": steps})
