"""Made-up results of an experiment, as the stages would write them: sentences, predictions, losses, costs.

    cases = made_cases(both_right=39, repaired=49, broken=2, both_wrong_same=10)
    paths = write_inputs(tmp_path, cases, prepare={"leaked_pairs": 3})

Metrics are computed from the cases by the functions that the stages use, so the files agree with each other.
"""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tunediff.compare.checks import raised_checks
from tunediff.compare.comparison import Comparison
from tunediff.compare.effects.probabilities import calibration
from tunediff.compare.effects.slices import tag_slices
from tunediff.compare.effects.transitions import TRANSITIONS, transition_metrics
from tunediff.compare.raised import Run
from tunediff.config.cost import Cost
from tunediff.config.task import TaskSection
from tunediff.metrics.accuracy import score
from tunediff.report.results import STAGES, TRAINING_KEYS, WITH_MODEL, Results, read_results
from tunediff.report.tables import margin
from tunediff.runtime.files import write_csv, write_json, write_jsonl
from tunediff.tasks import task_of

LABELS = ["entailment", "neutral", "contradiction"]
NO_PRICE = Cost()
SECTION = TaskSection(
    name="nli",
    inputs=["premise", "hypothesis"],
    labels=LABELS,
    source_input="premise",
    partial_input="hypothesis",
)
TASK = task_of(SECTION)
TAGS = ["hypernym", "modifier dropped", "modifier added", "colour swapped", "count swapped", "negation", "role swap"]
ENVIRONMENT = {
    **{"torch": "2.13.0+cpu", "transformers": "5.23.0", "peft": "0.21.0", "bitsandbytes": "0.50.0"},
    **{"device": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, AVX512", "threads": "2"},
    **{"attention": "sdpa", "dtype": "float32"},
}
CPU = "CPU Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz, 2 cores, 23 GiB"
HOSTILE = [
    "<script>alert('text became a script')</script>",
    "{{ 7 * 7 }} {% raw %} {# comment #}",
    "</td></tr></table></details></bdi>",
    "a | b \\| c",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    '"><img src=http://evil.example/x.png onerror=alert(1)>',
    "<!-- comment --> &lt;b&gt; &amp;",
    "**bold** _it_ `code` ~~gone~~ $x$",
    "one line\nand another\r\n| --- | --- |\n# heading",
    "@team www.evil.example #12 http://evil.example",
    "\u202eright to left\u2066 override",
    "שלום עולם \u200f مرحبا",
    "control \x00\x1b[31m\x9b characters",
    "</style><style>body{display:none}</style>",
    "word " * 400,
]
PRETRAINED = [
    {
        **{"epoch": epoch, "step": 900 * epoch, "train_loss": 8.5 - epoch, "validation_loss": math.log(perplexity)},
        **{"perplexity": perplexity, "mlm_accuracy": 0.1 * epoch, "nsp_accuracy": 0.5 + 0.1 * epoch},
    }
    for epoch, perplexity in ((1, 940.0), (2, 412.5))
]
CLEAN = {"clean_n": 1195, "clean_accuracy_delta": 0.5}
CLEAN |= {"clean_accuracy_delta_low": 0.47, "clean_accuracy_delta_high": 0.53}
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


def many_cases():
    """10,000 cases."""
    return made_cases(both_right=4000, repaired=3500, broken=500, both_wrong_same=1200, both_wrong_changed=800)


def usual_cases():
    """1,200 cases of an experiment that went well."""
    return made_cases(both_right=412, repaired=653, broken=21, both_wrong_same=71, both_wrong_changed=43)


def write_inputs(
    folder: Path,
    cases,
    labels=LABELS,
    losses=LOSSES,
    confidence=0.95,
    evidence=False,
    inputs=("premise", "hypothesis"),
    acknowledge=None,
    pinned=False,
    **changes,
):
    """Write all that the stage reads; `changes` replaces keys of a metrics file, as in prepare={"leaked_pairs": 3}.

    With `evidence` also what has to be asked for: parts of the gain, slices, causes, calibration, noise floor, leaks.
    With `pinned` the tuned model was not trained here: its log, metrics and environment are empty, and nothing is said
    of its training cases.
    """
    if evidence:
        cases = with_causes(cases)
    paths = {
        **{name: folder / f"metrics/{name}.json" for name in ("prepare", "count_params", "eval_base", "eval_tuned")},
        **{name: folder / f"metrics/{name}.json" for name in ("train", "diff_cases", "baselines")},
        "base_model": folder / "metrics/base_model.json",
        "pretrain_log": folder / "data/pretrain_log.csv",
        "train_log": folder / "data/train_log.csv",
        "parameters": folder / "data/parameters.csv",
        "calibration": folder / "metrics/calibration.json",
        "cases": folder / "data/cases.jsonl",
        "checks": folder / "data/plots/checks.json",
        "plots": folder / "data/plots",
        "environments": folder / "metrics/environment",
        "costs": folder / "metrics/cost",
    }
    metrics = {
        "base_model": {"vocab_size": 51200} | (PRETRAINED[-1] if evidence else {}),
        "prepare": {
            **{"train_n": 8000, "validation_n": 500, "test_n": len(cases), "dropped_unlabelled": 12},
            **{"leaked_pairs": 0, "shared_sources": 0, "shared_partial_inputs": 911, "near_duplicates": 0},
            "dropped_shared_sources": 143,
        },
        "count_params": {
            **{
                "base_total": 2779683840,
                "removed": 0,
                "head_added": 0,
                "base_with_head_total": 2779683840,
                "adapter_added": 20971520,
            },
            **{"tuned_total": 2800655360, "trainable": 20971520},
            **{"trainable_percent": 0.74880758, "packed_total": 1542364160, "packed_trainable_percent": 1.35970275},
        },
        "train": {
            **{"epochs": len(losses), "steps": 500 * len(losses)},
            **{"train_loss": losses[-1][0], "validation_loss": losses[-1][1]},
        },
        "diff_cases": transition_metrics(pd.Series([case["transition"] for case in cases]), confidence, None),
        "baselines": {"majority_accuracy": 0.338, "partial_input_accuracy": 0.411},
        "calibration": {},
    }
    for who in ("base", "tuned"):
        metrics[f"eval_{who}"] = score(
            labels,
            [case["label"] for case in cases],
            [case[f"{who}_prediction"] for case in cases],
            [case[f"{who}_log_probs"] for case in cases],
            confidence,
        )
    paths["plots"].mkdir(parents=True, exist_ok=True)
    if evidence:
        write_evidence(paths, metrics, cases, labels)
    else:
        tags, cells = (case["tags"] for case in cases), pd.Series([case["transition"] for case in cases])
        tag_slices(tags, cells, "tag", confidence, None).to_csv(paths["plots"] / "slices.csv", index=False)
    metrics = {name: {**values, **changes.get(name, {})} for name, values in metrics.items()}
    for name, keys in TRAINING_KEYS.items() if pinned else ():
        metrics[name] = {key: value for key, value in metrics[name].items() if key not in keys}
    for name, values in metrics.items():
        write_json(paths[name], values)
    rows = [
        {"epoch": number, "step": 500 * number, "train_loss": train, "validation_loss": validation}
        for number, (train, validation) in enumerate(losses, start=1)
    ]
    write_csv(paths["train_log"], rows)
    write_csv(paths["pretrain_log"], PRETRAINED if evidence else [], list(PRETRAINED[0]))
    write_csv(paths["parameters"], _parameters())
    write_jsonl(paths["cases"], cases)
    task = replace(TASK, labels=labels, inputs=inputs)
    checks = made_checks(cases, task, metrics, [] if pinned else rows, confidence, acknowledge or {}, evidence)
    write_json(paths["checks"], [check._asdict() for check in checks])
    for stage in WITH_MODEL:
        write_json(paths["environments"] / f"{stage}.json", ENVIRONMENT | changes.get(f"environment_{stage}", {}))
    if pinned:
        write_csv(paths["train_log"], [], ["epoch", "step", "train_loss", "validation_loss"])
        write_json(paths["environments"] / "train.json", {})
    # A base that is trained has no features: that stage takes no time.
    for number, stage in enumerate(["features", *(name for name in STAGES if name != "features")]):
        cost = {"seconds": 7.3 * number**2, "peak_memory_bytes": 2**28 * number, "device": CPU}
        cost |= {"gpu_seconds": 6.0 * number, "energy_joules": 1500.0 * number} if evidence else {}
        write_json(paths["costs"] / f"{stage}.json", cost)
    return paths


def made_checks(cases, task, metrics, losses, confidence, acknowledge, evidence):
    """The checks that the stage diff_cases would raise on such files."""
    columns = {who: [case[f"{who}_prediction"] for case in cases] for who in ("base", "tuned")}
    gold = [case["label"] for case in cases]
    aligned = pd.DataFrame(
        {
            "label": gold,
            "transition": [case["transition"] for case in cases],
            **{f"prediction_{who}": pd.Series(given, dtype=object) for who, given in columns.items()},
            **{f"outcome_{who}": task.outcomes(gold, given) for who, given in columns.items()},
        }
    )
    diff, best = metrics["diff_cases"], max(metrics["baselines"].values())
    advantage = diff["accuracy_tuned"] - best
    worth = {"baseline_best": best, "gain_over_baseline_low": advantage - 0.06}
    worth |= {"gain_over_baseline_high": advantage + 0.06}
    return raised_checks(
        Comparison(aligned, task, confidence),
        worth | diff,
        {"differences": pd.DataFrame(columns=["metric", "base", "tuned"])},
        {"contamination": CLEAN if evidence else {}},
        Run(
            prepare=metrics["prepare"],
            base_model=metrics["base_model"],
            evaluations={who: metrics[f"eval_{who}"] for who in ("base", "tuned")},
            train_log=losses,
            acknowledge=acknowledge,
        ),
    )


def _parameters():
    def row(module, parameter, part, dtype, base, tuned, stored, size, trainable):
        return {
            **{"module": module, "parameter": parameter, "part": part, "kind": "linear", "shape": "(10240, 2560)"},
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


def with_causes(cases):
    """The cases with the fields that the evidence adds to them."""
    return [
        {
            **case,
            **{f"{who}_margin": margin(case, LABELS, who) or 0.5 for who in ("base", "tuned")},
            "slices": [
                f"tag: {case['tags'][0]}",
                f"label: {case['label']}",
                f"negation: {'in hypothesis' if 'not' in str(case.get('hypothesis')) else 'none'}",
            ],
            **(cause(case) if case["transition"] in ("repaired", "broken") else {}),
        }
        for case in cases
    ]


def cause(case):
    """Evidence and explanation of a flipped case, in the form of `tunediff.compare.explanations.causes`."""
    near = [{"case_id": f"{number:016x}", "label": case["label"], "distance": 0.1 * number} for number in (1, 2, 3)]
    return {
        "evidence": {
            **{key: case[key] for key in ("case_id", "transition", "label", "base_prediction", "tuned_prediction")},
            **{"base_margin": -2.31, "tuned_margin": 0.8, "base_calibrated_margin": 0.12, "base_parse": "parsed"},
            **{"base_partial_input": "neutral", "base_stable": True, "negation": "none", "overlap": 0.25},
            **{"subsequence": False, "alone": "hypothesis", "others": "premise", "nearest": near},
        },
        "explanation": "The gold label trailed by 2.31 nats before and leads by 0.80 after; without the base model's "
        "label bias it would have led before (by 0.12 nats).",
    }


def write_evidence(paths, metrics, cases, labels):
    """Write the tables of the evidence, and add its keys to the metrics."""
    n, diff, plots = len(cases), metrics["diff_cases"], paths["plots"]
    net = diff["repaired"] - diff["broken"]
    shares = {"answer_format": 0.1, "label_bias": 0.25, "partial_input": -0.05, "residual": 0.7}
    gain = [
        {"part": part, "cases": round(share * net), "points": points, "low": points - 2, "high": points + 2}
        for part, share in shares.items()
        for points in [100 * share * net / n]
    ]
    write_csv(plots / "gain.csv", gain)
    write_csv(
        plots / "baselines.csv",
        [
            {"baseline": name, "accuracy": accuracy, "gain": diff["accuracy_tuned"] - accuracy,
             "low": diff["accuracy_tuned"] - accuracy - 0.04, "high": diff["accuracy_tuned"] - accuracy + 0.04}
            for name, accuracy in (("calibrated_base", 0.52), ("partial_input", 0.411), ("majority", 0.338))
        ],
    )  # fmt: skip
    aligned = pd.DataFrame(
        {
            "case_id": [case["case_id"] for case in cases],
            "label": [case["label"] for case in cases],
            **{f"log_probs_{who}": [case[f"{who}_log_probs"] for case in cases] for who in ("base", "tuned")},
        }
    )
    scores = {who: np.array([case[f"{who}_log_probs"] for case in cases]) for who in ("base", "tuned")}
    found = calibration(aligned["label"], scores, labels, 0.95, None)
    metrics["calibration"] = found.metrics
    found.reliability.to_csv(plots / "reliability.csv", index=False)
    found.coverage.to_csv(plots / "coverage.csv", index=False)
    cells = pd.Series([case["transition"] for case in cases])
    tagged = tag_slices((case["slices"] for case in cases), cells, "tag", 0.95, None).to_dict("records")
    rows = [dict(zip(("family", "value"), row["value"].split(": "), strict=True)) for row in tagged]
    ranked = {"q": 0.003, "delta_rest": 0.2, "departure": -2.4}
    write_csv(plots / "slices.csv", [{**row, **names, **ranked} for row, names in zip(tagged, rows, strict=True)])
    counts = [
        {"transition": name, "cases": diff[name], "same_inputs": 0, "near_duplicates": 0, "clean": diff[name]}
        for name in TRANSITIONS
    ]  # fmt: skip
    write_csv(plots / "contamination.csv", counts)
    write_json(plots / "contamination.json", CLEAN)
    best = diff["accuracy_tuned"] - 0.52
    metrics["baselines"] |= {"calibrated_base_accuracy": 0.52}
    diff |= {"noise_floor_flips": 3, "baseline_best": 0.52, "gain_over_baseline": best}
    diff |= {"gain_over_baseline_low": best - 0.04, "gain_over_baseline_high": best + 0.04}
    diff |= {"became_valid": 4, "became_invalid": 1, **{f"gain_{row['part']}": row["points"] / 100 for row in gain}}


def made_results(
    folder: Path, cases, labels=LABELS, inputs=TASK.inputs, source_input=None, confidence=0.95, cost=NO_PRICE, **changes
) -> Results:
    """What `read_results` gives for such files."""
    task = replace(TASK, labels=labels, inputs=inputs, source_input=source_input or inputs[0])
    written = write_inputs(folder, cases, labels, inputs=inputs, confidence=confidence, **changes)
    return read_results(written, task, confidence, cost)


def write_params(path: Path, **report):
    """A whole params.yaml for the files of `write_inputs`."""
    sections = {
        "task": SECTION.model_dump(),
        "report": {"title": "Captions: base against QLoRA", "cases_per_transition": 5, **report},
    }
    given = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    path.write_text(json.dumps({**given, **sections}))
