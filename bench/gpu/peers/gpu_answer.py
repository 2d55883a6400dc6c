"""Answers the questions of a `Side`: a line of JSON each; an error is an answer, its sentence."""
import json
import os
import sys

import torch

# Chosen where there is no device, as in the tests of the pack.
DEVICE = os.environ.get("MEGATRON_PEER_DEVICE", "cuda")


def wait():
    """Until the device has done all it was asked for."""
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def on_device():
    """Where tensors are made within: a default for the whole program would make every call of PyTorch slower."""
    return torch.device(DEVICE)


def answer(answers):
    for line in sys.stdin:
        question = json.loads(line)
        try:
            result = answers[question.pop("do")](**question)
        except Exception as error:  # whatever went wrong is the row's sentence
            words = f"{type(error).__name__}: {error}".split("\n")
            result = {"error": f"PyTorch: {' '.join(words[:4])[:600]}", "isFatal": "CUDA" in str(error)}
        print(json.dumps(result), flush=True)
