"""Base and tuned model in one process, their weights loaded once, against a process and a load for each.

    python benchmarks/loads.py [--quick]

What is timed is what a user waits for: from the start of the first process until both models have answered, imports,
loading and quantising to NF4 included. 100 SNLI cases, as many as system A has. One process is `tunediff predict`; two
are the stages predict_base and predict_tuned, which stay apart so that the base's answers come from the cache when
only the training has changed.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from setting import CASE, INSTRUCTION, conclude, in_turn, parse, small_llama, snli

from tunediff.config.adapt import Adapt
from tunediff.config.evaluate import Evaluate
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.config.task import TaskSection
from tunediff.data.cases import make_cases, read_cases, write_cases
from tunediff.engines import open_engine
from tunediff.engines.asking import ask_cases
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import CaseSet, PredictSettings
from tunediff.models.adapt import adapt_model
from tunediff.models.load import load_base
from tunediff.models.sources import write_manifest
from tunediff.models.tuned import save_tuned

LABELS = ["entailment", "neutral", "contradiction"]
TASK = TaskSection(
    name="nli", inputs=["premise", "hypothesis"], labels=LABELS, source_input="premise", partial_input="hypothesis"
)
CHOICES = dict(zip(LABELS, [" it follows from it", " it may be so", " it cannot be so"], strict=True))
PROMPT = Prompt(template=INSTRUCTION + CASE, choices=CHOICES)
EVALUATE = Evaluate(scoring_method="choices", batch_tokens=2048)
MODEL = Model(source="scratch", config={"model_type": "llama"}, head="lm", quantization="nf4")
CASE_SET = CaseSet(
    inputs=TASK.inputs,
    labels=LABELS,
    partial_input="hypothesis",
    prompt=PROMPT,
    ask=Ask(answer="choices", names=LABELS, choices=CHOICES),
)
SETTINGS = PredictSettings(model=MODEL, evaluate=EVALUATE, sets={"test": CASE_SET})
BASE, TUNED = Path("models/base"), Path("models/tuned")
ANSWER = "answer"  # what a process is asked to do
ADAPT = Adapt(method="qlora", r=16, lora_alpha=32, target_modules="all-linear")


def main() -> None:
    """Check that both ways give the same answers, time them in turn, and print the ratio."""
    args = parse(__doc__, quick="20 cases and one round")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, 20 if args.quick else 100)
        sides = {
            "tunediff, one load": lambda: ask(folder, [["base", "tuned"]]),
            "two processes, two loads": lambda: ask(folder, [["base"], ["tuned"]]),
        }
        rounds, answers = in_turn(sides, 1 if args.quick else 5)
    apart = float((answers[0] - answers[1]).abs().max())
    assert (answers[0][0] - answers[0][1]).abs().max() > 1e-3, "the adapter changes nothing"
    conclude(args, "loads", rounds, reach=1.5, agreement=apart, tolerance=0)


def write_project(folder: Path, n: int) -> None:
    """A base model in models/base, an adapter with weights in models/tuned, and n cases."""
    rows = snli(n)
    write_cases(folder / "cases.jsonl", make_cases([(row_inputs(row), LABELS[row["label"]], ()) for row in rows]))
    base, tuned = folder / BASE, folder / TUNED
    texts = [(INSTRUCTION + CASE).format(**row) for row in rows]
    network, tokenizer = small_llama([*texts, *CHOICES.values()])
    network.cpu().save_pretrained(base)
    tokenizer.save_pretrained(base)
    write_manifest(base, MODEL, base)
    adapted = adapt_model(load_base(base, MODEL, LABELS).model, ADAPT, seed=1)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:  # zero at first, so that an adapter changes nothing
                weight.normal_(0, 0.02)
    save_tuned(adapted, ADAPT, tuned)


def row_inputs(row: dict[str, str]) -> dict[str, str]:
    """The inputs of a row."""
    return {name: row[name] for name in TASK.inputs}


def ask(folder: Path, processes: list[list[str]]) -> torch.Tensor:
    """Log-probabilities of both models, of shape (2, n_cases, 3), from one process for each entry."""
    for models in processes:
        subprocess.run([sys.executable, __file__, ANSWER, *models], cwd=folder, check=True, capture_output=True)
    frames = [pd.read_parquet(folder / f"{model}.parquet") for model in ("base", "tuned")]
    return torch.tensor([[list(row) for row in frame["log_probs"]] for frame in frames], dtype=torch.float64)


def answer(models: list[str]) -> None:
    """In a process of its own, in the project's folder: let the models answer, and write their predictions."""
    cases = read_cases(Path("cases.jsonl"), TASK.inputs, LABELS)
    engine = open_engine(SETTINGS, BASE)
    for model in models:
        if model == "tuned":
            engine = engine.tuned(TUNED)
        ask_cases(engine, cases, CASE_SET, EVALUATE, model).to_parquet(f"{model}.parquet")


if __name__ == "__main__":
    if sys.argv[1:2] == [ANSWER]:
        answer(sys.argv[2:])
    else:
        main()
