"""Made-up questions about made-up paragraphs, with answers and without, and the prediction files of two models.

test = made_questions(100, "test")
base, tuned = answers_of(test, right_before, seed=1), answers_of(test, right_after, seed=2)
"""

import json
import shutil

import numpy as np
import pandas as pd
import yaml

from tests.imports import ROOT
from tests.program import script
from tests.report.made import made_cases, write_inputs, write_params
from tests.settings import settle
from tests.whole_files import write_predictions
from tunediff.config.task import TaskSection
from tunediff.data.cases import INVALID, RIGHT, WRONG, Answer, Case, write_cases
from tunediff.data.leaks import find_leaks
from tunediff.data.notes import Notes, write_notes
from tunediff.metrics.squad import exact_match, token_f1
from tunediff.runtime.files import write_json
from tunediff.runtime.hashing import content_hash
from tunediff.stats.intervals import wilson
from tunediff.tasks import task_of

TASK = TaskSection(
    name="question_answering",
    inputs=["question", "context"],
    labels=["answerable", "unanswerable"],
    source_input="context",
    partial_input="question",
)
QUESTIONS = task_of(TASK)
# 39 both right, 49 repaired, 2 broken, 10 both wrong.
GOLDEN = [(True, True)] * 39 + [(False, True)] * 49 + [(True, False)] * 2 + [(False, False)] * 10
ASKED = ("What did {who} build?", "Where did {who} live?", "When did {who} die?", "How old was {who}?")


def made_questions(n, split, labels=TASK.labels):
    """Two questions a paragraph; of every four questions the last has no answer, where labels allow for it."""
    cases = []
    for number in range(n):
        who = f"Ada {split.title()}son {number // 2}"
        parts = {
            "What": f"a grey mill of {number // 2 + 3} floors",
            "Where": f"Port {split.title()} {number // 2}",
            "When": str(1200 + number // 2),
            "How": f"{20 + number // 2} years",
        }
        context = (
            f"{who} built {parts['What']} by the river. After the flood the family lived in {parts['Where']}. "
            f"In {parts['When']} she died at the age of {parts['How']}, and nobody else has lived there since."
        )
        asked = ASKED[number % len(ASKED)]
        none = number % 4 == 3 and len(labels) > 1
        question = f"Who painted {who}?" if none else asked.format(who=who)
        text = parts[asked.split()[0]]
        answers = () if none else (Answer(text, context.index(text)),)
        inputs = {"question": question, "context": context}
        label = "unanswerable" if none else "answerable"
        cases.append(Case(content_hash(inputs), inputs, label, (f"{split} article {number // 20}",), answers))
    return cases


def answers_of(cases, right, seed=0, scored=True, **columns):
    """A prediction file: the gold answer where `right` says so, else part of it, none, or one that is not there."""
    generator = np.random.default_rng(seed)
    rows = []
    for case, fits in zip(cases, right, strict=True):
        gold = [answer.text for answer in case.answers]
        true = gold[0] if gold else ""
        other = "the river" if not gold else ("", f"{true} by", "the flood")[generator.integers(3)]
        given = true if fits else other
        odds = (4 if given == "" else -4) + generator.normal()
        rows.append(
            {
                "case_id": case.case_id,
                "label": case.label,
                "prediction": given,
                "outcome": RIGHT if exact_match(gold, given) else WRONG,
                "log_probs": [-np.logaddexp(0, odds), -np.logaddexp(0, -odds)] if scored else None,
                "text": given,
                "finish_reason": "none",
                "scorer": "head",
                "prompt_hash": f"p{case.case_id}",
                "n_tokens": 60,
                "truncated": False,
                "answers": gold,
                "f1": token_f1(gold, given),
            }
        )
    return pd.DataFrame(rows).assign(**columns)


def golden_pair(cases, **columns):
    """Prediction files of a base and a tuned model with the transitions of `GOLDEN`, mixed."""
    right = np.array(GOLDEN)[np.random.default_rng(5).permutation(len(GOLDEN))]
    return answers_of(cases, right[:, 0], 1, **columns), answers_of(cases, right[:, 1], 2)


def write_run(folder, test, train, base, tuned, task=TASK):
    """All that the stages diff_cases and report read of a run, with the figures of made-up training."""
    paths = write_inputs(folder, made_cases(both_right=1))
    for path, cases in (("splits/train", train), ("splits/validation", train[:2]), ("test_sets/test", test)):
        write_cases(folder / f"data/{path}.jsonl", cases)
    write_notes(folder / "data/notes.json", {"test": Notes(find_leaks(test, train, task))})
    for name, frame in (("base", base), ("tuned", tuned)):
        write_predictions(folder / f"data/predictions/{name}/test.parquet", frame, {"labels": task.labels})
        right = int((frame["outcome"] == RIGHT).sum())
        low, high = wilson(right, len(frame))
        exact = {"exact": 100 * right / len(frame), "exact_low": 100 * low, "exact_high": 100 * high}
        write_json(
            paths[f"eval_{name}"],
            {
                "n": len(frame),
                **exact,
                "f1": 100 * frame["f1"].mean(),
                "invalid": int((frame["outcome"] == INVALID).sum()),
            },
        )
    # Of the stages themselves nothing is there yet.
    paths["cases"].unlink()
    shutil.rmtree(paths["plots"])
    write_params(folder / "params.yaml", title="Questions: an untrained span head against a trained one")
    params = json.loads((folder / "params.yaml").read_text())
    columns = {"question": "question", "context": "context", "answers": "answers"}
    changes = {
        "task": task.model_dump(),
        "data": {"columns": columns, "labels": None},
        "model": {"head": "span"},
        "prompt": {"template": None, "choices": None},
        "evaluate": {"scoring_method": "head", "settings": [], "few_shot": 0},
    }
    for section, values in changes.items():
        params[section] |= values
    (folder / "params.yaml").write_text(json.dumps(params))


def run_stage(folder, name):
    """Run a stage in a folder, with settings from its params.yaml; as the finished process."""
    settle(folder)
    cmd = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][name]["cmd"]
    arguments = cmd.split(f"stages/{name}.py")[1].split()
    return script(folder, ROOT / "stages" / f"{name}.py", *arguments)
