"""What the benchmarks share: the same small model, real prompts, timing in turn, the last line.

model, tokenizer = small_llama(texts)
seconds = in_turn({"tunediff": ours, "peer": theirs}, rounds=3)     # {"tunediff": [1.2, ...], "peer": [...]}
conclude("choices", seconds, reach=6.0, agreement=1e-6, tolerance=1e-4)
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from tunediff.training.tokenizer import train_bpe

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SNLI = DATA / "snli" / "test.jsonl"
INSTRUCTION = (
    "Instruct: Does the premise entail the hypothesis, contradict it, or neither?\nAnswer with one word alone, and "
    "think of what a picture of the premise would show.\n"
)
CASE = "Premise: {premise}\nHypothesis: {hypothesis}\nAnswer:"


def snli(n: int) -> list[dict[str, str]]:
    """The first n labelled rows of SNLI's test split: premise, hypothesis, label 0 to 2.

    Ends the program where the file is not there.
    """
    if not SNLI.is_file():
        sys.exit(f"{SNLI}: there is no such file, expected SNLI's test split as JSON lines")
    rows = [json.loads(line) for line in SNLI.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["label"] != -1][:n]


def small_llama(
    texts: Sequence[str], hidden: int = 256, layers: int = 4, vocabulary: int = 4000
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """A Llama layout with random weights and a tokenizer trained on the texts, float32, on the device there is."""
    tokenizer = train_bpe(texts, vocabulary, 1024)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=11 * hidden // 4,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config).eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def in_turn(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round; the sides take turns, so that a slow moment of the machine meets all."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def conclude(
    name: str, seconds: Mapping[str, Sequence[float]], reach: float, agreement: float, tolerance: float
) -> None:
    """Print a row a side, and one JSON line: how many times as fast the first side is as the last.

    Ends the program with 1 where the sides do not agree.
    """
    ours, *_, theirs = seconds.values()
    ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    for side, times in seconds.items():
        print(f"{side:40} {statistics.median(times):8.2f} s   ({', '.join(f'{one:.2f}' for one in times)})")
    line = {
        "name": name,
        "ratio": round(ratio, 2),
        "reach": reach,
        "agreement": agreement,
        "tolerance": tolerance,
        "device": device(),
    }
    print(json.dumps(line))
    if not agreement <= tolerance:
        sys.exit(f"{name}: the sides differ by {agreement:.2g}, expected at most {tolerance:.2g}")


def device() -> str:
    """The GPU, or the processor and its cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
