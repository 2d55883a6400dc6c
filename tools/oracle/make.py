"""Writes tests/golden: what PyTorch computes for each operation and for a whole GPT, on inputs that Philox draws.

    python -m pip install -r tools/oracle/requirements.txt
    python tools/oracle/make.py

The tests read the files and need neither Python nor PyTorch.
"""

import sys

import numpy as np
import torch

sys.dont_write_bytecode = True  # the repository stays as it was

import attention
import bert
import bf16
import draws
import elementwise
import fused
import gpt
import llama
import philox
import rotary
import shaping
import t5
import turned
from case import SEED
from golden_file import GOLDEN, write_json, write_manifest

FILES = {
    "ops-unary.json": elementwise.unary,
    "ops-binary.json": elementwise.binary,
    "ops-choosing.json": elementwise.choosing,
    "ops-reducing.json": shaping.reducing,
    "ops-views.json": shaping.views,
    "ops-products.json": shaping.products,
    "ops-mixing.json": fused.mixing,
    "ops-attending.json": attention.attending,
    "ops-turning.json": attention.turning,
    "ops-norming.json": fused.norming,
    "ops-looking-up.json": fused.looking_up,
    "ops-bf16.json": bf16.bf16,
    "draws.json": draws.draws,
    "rotary-frequencies.json": rotary.frequencies,
}


def main() -> None:
    philox.check()
    torch.set_num_threads(1)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        write_json(name, make())
    facts = gpt.write()
    llama.write()
    bert.write()
    t5.write()
    turned.write()
    write_manifest({"made by": "tools/oracle/make.py", "seed": SEED, "torch": torch.__version__, "numpy": np.__version__, "gpt": facts})


if __name__ == "__main__":
    main()
