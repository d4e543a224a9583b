"""How much memory the stages predict_base and eval_base take beside the model, from 100,000 to 1,000,000 cases.

    python benchmarks/stream.py [--quick | --cases 10000000]

Makes a test set of that many cases (premise, hypothesis, three labels), and runs both scripts on it as DVC does. In the
place of the model there is an engine that answers from a word of the prompt: what is measured is the machinery. It
scores three choices, and again for the hypothesis alone, and keeps its answers in the journal of the stage, 64 to a
batch. The metrics are checked against the rows. Seconds and peak memory are those that the stages write themselves. The
ratio is that of 2 GB to the largest peak; one below 1 ends the script with 1.

`--cases 10000000` takes some 10 GB in the folder of temporary files (TMPDIR).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from setting import device, finish, parse

from tunediff.config.settings import MachineSettings
from tunediff.config.task import TaskSection
from tunediff.data.cases import Case, write_cases
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import CaseSet, PredictSettings
from tunediff.tasks.evaluation import EvalSettings, GradedSet

SIZES = (1, 100_000, 1_000_000)
MOST = 2 * 2**30
LABELS = ["entailment", "neutral", "contradiction"]
CHOICES = {"entailment": " yes", "neutral": " maybe", "contradiction": " no"}
WORDS = ["a", "man", "woman", "dog", "child", "red", "shirt", "is", "feeding", "two", "animals", "near", "the", "river"]
ROWS = 100_000
STAGES = Path(__file__).resolve().parents[1] / "stages"
ENGINE = """
import runpy, sys
from tunediff.engines import ENGINES
from tunediff.engines.engine import Engine
from tunediff.engines.journal import journal

class Named(Engine):
    '''The likeliest choice is the one that the prompt names.'''

    def __init__(self, settings, folder):
        pass

    def tuned(self, folder):
        return self

    def loglikelihoods(self, prompts, continuations, title):
        with journal(len(prompts), title) as kept:
            for start in range(0, len(prompts), 64):
                rows = [row for row in range(start, min(start + 64, len(prompts))) if row not in kept.results]
                found = [[-1.0 if text in prompts[row] else -3.0 for text in continuations] for row in rows]
                kept.results.update(zip(rows, found))
                kept.add(rows, found)
        return [kept.results[row] for row in range(len(prompts))]

    def generate(self, prompts, stop, max_new_tokens, title):
        raise NotImplementedError

    def environment(self):
        return {"engine": "named"}

ENGINES["named"] = Named
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main() -> None:
    """Measure every size, print a row each, and the line that sums up."""
    cases = ("1000000", ["1000000", "10000000"], "at most")
    args = parse(__doc__, quick="100,000 cases", cases=cases)
    most = int(args.cases)
    sizes = SIZES[:2] if args.quick else SIZES if most == SIZES[-1] else (*SIZES, most)
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"cases": size, **run(Path(folder), size)})
        print(rows[-1], flush=True)
    peak = max(max(row["predict_peak_mib"], row["eval_peak_mib"]) for row in rows)
    ratio = round(MOST / 2**20 / peak, 2)
    wrong = None if ratio >= 1 else f"found a peak of {peak} MiB, expected at most {MOST // 2**20}"
    line = {"name": "stream", "ratio": ratio, "reach": 1.0, "agreement": 0, "tolerance": 0, "device": device()}
    finish(args, line, wrong, rows=rows)


def run(folder: Path, size: int) -> dict[str, float]:
    """Seconds and peak memory in MiB of both stages; the metrics have to be those of the rows."""
    right = write_project(folder, size)
    common = {"test-sets": "sets", "validation": "validation.jsonl"}
    predict = {"base": "base", "answers": "answers", "environment": "environment.json"}
    graded = {"answers": "answers", "predictions": "predictions", "metrics": "metrics.json"}
    found = {}
    for name, paths in {"predict": common | predict, "eval": common | graded}.items():
        paths |= {"settings": f"settings/{name}_base.json", "cost": f"{name}-cost.json"}
        options = [part for key, path in paths.items() for part in (f"--{key}", path)]
        command = [sys.executable, "-c", ENGINE, str(STAGES / f"{name}_base.py"), *options]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, env=os.environ, check=False)
        if done.returncode:
            sys.exit(f"{name}_base ended with {done.returncode}")
        cost = json.loads((folder / f"{name}-cost.json").read_text(encoding="utf-8"))
        found |= {f"{name}_seconds": cost["seconds"], f"{name}_peak_mib": round(cost["peak_memory_bytes"] / 2**20)}
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if (metrics["n"], round(metrics["accuracy"] * size)) != (size, right):
        sys.exit(f"{size} cases: found {metrics['n']}, {metrics['accuracy']} right, expected {right}")
    return found


def write_project(folder: Path, size: int) -> int:
    """What both stages read; how many cases the engine gets right."""
    prompt = {"template": "{premise}\n{hypothesis}\nTrue?", "choices": CHOICES}
    task = {"inputs": ["premise", "hypothesis"], "labels": LABELS, "partial_input": "hypothesis"}
    ask = Ask(answer="choices", names=LABELS, choices=CHOICES)
    predict = PredictSettings(
        model={"source": "folder", "id": "nowhere", "head": "lm", "quantization": "none"},
        engine={"kind": "named"},
        evaluate={"scoring_method": "choices", "settings": ["partial_input"]},
        sets={"test": CaseSet(**task, prompt=prompt, ask=ask)},
    )
    section = TaskSection(name="nli", source_input="premise", **task)
    (folder / "settings").mkdir()
    for name, settings in {
        "predict_base": predict,
        "eval_base": EvalSettings(sets={"test": GradedSet(task=section, ask=ask)}, metrics=[]),
        "machine": MachineSettings(logging_steps=10, save_total_limit=None, num_processes=1),
    }.items():
        (folder / f"settings/{name}.json").write_text(settings.model_dump_json(), encoding="utf-8")
    (folder / "base").mkdir()
    (folder / "validation.jsonl").touch()
    counts = [0]
    write_cases(folder / "sets/test.jsonl", made_cases(size, counts))
    return counts[0]


def made_cases(size: int, right: list[int]) -> Iterator[Case]:
    """The cases, each naming a choice; those that name their own are counted."""
    drawn = np.random.default_rng(0)
    for first in range(0, size, ROWS):
        n = min(ROWS, size - first)
        words = drawn.integers(0, len(WORDS), (n, 17))
        for row, (gold, named) in enumerate(drawn.integers(0, 3, (n, 2)).tolist()):
            texts = [WORDS[word] for word in words[row]]
            hypothesis = f"{' '.join(texts[12:])}{CHOICES[LABELS[named]]} {first + row}"
            right[0] += gold == named
            inputs = {"premise": " ".join(texts[:12]), "hypothesis": hypothesis}
            yield Case(f"{first + row:016x}", inputs, LABELS[gold])


if __name__ == "__main__":
    main()
