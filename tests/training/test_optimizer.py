"""The learning rate falls as transformers lets it fall."""

import math
import subprocess
import sys

import pytest
import torch
from transformers import get_scheduler

from tests.tiny import train_section
from tunediff.training.optimizer import make_schedule


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "constant_with_warmup"])
@pytest.mark.parametrize("warmup", [0, 0.05, 3, 0.5])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_every_rate_is_that_of_transformers_to_the_last_digit(kind, warmup, steps):
    section = train_section(lr_scheduler_type=kind, warmup_steps=warmup)
    optimizers = [torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=3e-3) for _ in range(2)]
    n = int(warmup) if warmup >= 1 else math.ceil(steps * warmup)
    own = make_schedule(optimizers[0], section, steps)
    theirs = get_scheduler(kind, optimizers[1], num_warmup_steps=n, num_training_steps=steps)
    for _ in range(steps):
        assert own.get_last_lr() == theirs.get_last_lr()
        for optimizer in optimizers:
            optimizer.step()
        own.step()
        theirs.step()
    assert own.get_last_lr() == theirs.get_last_lr()


@pytest.mark.pipeline
def test_a_base_from_scratch_imports_neither_adapters_nor_4_bit_layers():
    code = "import sys, tunediff.pretraining.pretrain; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"peft", "bitsandbytes", "torch._inductor.compile_fx"} & set(done.stdout.split())
