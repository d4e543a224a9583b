"""Made-up results of an experiment, as the stages would write them: sentences, predictions, losses, costs.

    cases = made_cases(both_right=39, repaired=49, broken=2, both_wrong_same=10)
    paths = write_inputs(tmp_path, cases, prepare={"leaked_pairs": 3})

Metrics are computed from the cases by the functions that the stages use, so the files agree with each other.
"""

import json
import math
import random
from pathlib import Path

import pandas as pd
import yaml

from tunediff.compare.transitions import transition_metrics
from tunediff.files import write_csv, write_json, write_jsonl
from tunediff.metrics.classification import score
from tunediff.report.results import STAGES, Results, read_results
from tunediff.sections import Task

LABELS = ["entailment", "neutral", "contradiction"]
TASK = Task(
    name="nli",
    inputs=["premise", "hypothesis"],
    labels=LABELS,
    source_input="premise",
    premise_free_input="hypothesis",
)
TAGS = ["hypernym", "modifier dropped", "modifier added", "colour swapped", "count swapped", "negation", "role swap"]
CPU = "CPU Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, 2 cores, 23 GiB"
LOSSES = [(1.021, 0.874), (0.611, 0.522), (0.402, 0.431)]


def made_cases(labels=LABELS, gold=None, invalid_base=0, seed=0, **transitions):
    """Cases of each transition, mixed; the first `invalid_base` repaired ones had no valid answer before."""
    rng = random.Random(seed)
    names = [name for name, count in transitions.items() for _ in range(count)]
    rng.shuffle(names)
    cases = []
    for number, transition in enumerate(names):
        label = gold or labels[number % len(labels)]
        wrong = [other for other in labels if other != label]
        base = label if transition in ("both_right", "broken") else wrong[0]
        tuned = label if transition in ("both_right", "repaired") else wrong[0]
        if transition == "both_wrong_changed":
            tuned = wrong[-1]
        if transition == "repaired" and invalid_base:
            base, invalid_base = None, invalid_base - 1
        who, animal = (
            rng.choice(["A man", "Two women", "A child", "An old couple"]),
            rng.choice(["dog", "horse", "cat"]),
        )
        cases.append(
            {
                "case_id": f"{number:016x}",
                "premise": f"{who} in a {rng.choice(['red', 'blue', 'striped'])} coat is feeding {rng.randint(2, 9)} "
                f"{animal}s beside the {rng.choice(['river', 'market', 'station'])}, case {number}.",
                "hypothesis": f"{who} {rng.choice(['feeds some animals', f'does not feed a {animal}', 'is asleep'])}.",
                "label": label,
                "base_prediction": base,
                "tuned_prediction": tuned,
                "transition": transition,
                "base_log_probs": _log_probs(rng, labels, base, 1.0),
                "tuned_log_probs": _log_probs(rng, labels, tuned, 4.0),
                "tags": [TAGS[number % len(TAGS)]],
            }
        )
    return cases


def _log_probs(rng, labels, prediction, margin):
    """Log-probabilities over the labels, the predicted one highest."""
    scores = [rng.gauss(margin if label == prediction else 0, 0.3 * margin) for label in labels]
    if prediction in labels:
        scores[labels.index(prediction)] = max(scores) + 0.01
    total = math.log(sum(math.exp(value) for value in scores))
    return [value - total for value in scores]


def usual_cases():
    """1,200 cases of an experiment that went well."""
    return made_cases(both_right=412, repaired=653, broken=21, both_wrong_same=71, both_wrong_changed=43)


def write_inputs(folder: Path, cases, labels=LABELS, losses=LOSSES, confidence=0.95, **changes):
    """Write all that the stage reads; `changes` replaces keys of a metrics file, as in prepare={"leaked_pairs": 3}."""
    paths = {
        **{name: folder / f"metrics/{name}.json" for name in ("prepare", "count_params", "eval_base", "eval_tuned")},
        **{name: folder / f"metrics/{name}.json" for name in ("train", "diff_cases", "baselines")},
        "train_log": folder / "data/train_log.csv",
        "parameters": folder / "data/parameters.csv",
        "cases": folder / "data/cases.jsonl",
        "costs": folder / "metrics/cost",
    }
    metrics = {
        "prepare": {
            **{"train_n": 8000, "validation_n": 500, "test_n": len(cases), "dropped_unlabelled": 12},
            **{"leaked_pairs": 0, "shared_premises": 0, "shared_hypotheses": 911, "near_duplicates": 0},
            "dropped_shared_premises": 143,
        },
        "count_params": {
            **{"base_total": 2779683840, "tuned_total": 2800655360, "trainable": 20971520},
            **{"trainable_percent": 0.74880758, "packed_total": 1542364160, "packed_trainable_percent": 1.35970275},
        },
        "train": {
            **{"epochs": len(losses), "steps": 500 * len(losses)},
            **{"train_loss": losses[-1][0], "validation_loss": losses[-1][1]},
        },
        "diff_cases": transition_metrics(pd.Series([case["transition"] for case in cases]), confidence),
        "baselines": {"majority_accuracy": 0.338, "premise_free_accuracy": 0.411},
    }
    for who in ("base", "tuned"):
        metrics[f"eval_{who}"] = score(
            labels,
            [case["label"] for case in cases],
            [case[f"{who}_prediction"] for case in cases],
            [case[f"{who}_log_probs"] for case in cases],
            confidence,
        )
    for name, values in metrics.items():
        write_json(paths[name], {**values, **changes.get(name, {})})
    rows = [
        {"epoch": number, "step": 500 * number, "train_loss": train, "validation_loss": validation}
        for number, (train, validation) in enumerate(losses, start=1)
    ]
    write_csv(paths["train_log"], rows)
    write_csv(paths["parameters"], _parameters())
    write_jsonl(paths["cases"], cases)
    for number, stage in enumerate(STAGES, start=1):
        cost = {"seconds": 7.3 * number**2, "peak_memory_bytes": 2**28 * number, "device": CPU}
        write_json(paths["costs"] / f"{stage}.json", cost)
    return paths


def _parameters():
    def row(module, parameter, part, dtype, base, tuned, stored, size, trainable):
        return {
            **{"module": module, "parameter": parameter, "part": part, "kind": "linear", "shape": "(1, 1)"},
            **{"dtype": dtype, "base": base, "tuned": tuned, "stored": stored, "bytes": size, "trainable": trainable},
        }

    rows = [row("model.embed_tokens", "weight", "base", "float32", 131072000, 131072000, 131072000, 524288000, False)]
    for layer in range(32):
        for name in ("q_proj", "k_proj", "v_proj", "dense"):
            module = f"model.layers.{layer}.self_attn.{name}"
            rows.append(row(module, "weight", "base", "nf4", 6553600, 6553600, 3276800, 3381000, False))
            rows.append(row(module, "lora_A", "adapter", "float32", 0, 81920, 81920, 327680, True))
            rows.append(row(module, "lora_B", "adapter", "float32", 0, 81920, 81920, 327680, True))
    return rows


def made_results(folder: Path, cases, labels=LABELS, inputs=TASK.inputs, **changes) -> Results:
    """What `read_results` gives for such files."""
    return read_results(write_inputs(folder, cases, labels, **changes), labels, inputs)


def write_params(path: Path, **report):
    """A whole params.yaml for the files of `write_inputs`."""
    sections = {
        "task": TASK.model_dump(),
        "report": {"title": "Captions: base against QLoRA", "cases_per_transition": 5, **report},
    }
    given = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    path.write_text(json.dumps({**given, **sections}))
