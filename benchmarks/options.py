r"""Multiple choice: what each option scores and which is chosen, against lm-evaluation-harness, case by case.

    python benchmarks/options.py [--model FOLDER] [--quick]

A case is a premise of SNLI with its three hypotheses as options; the one that follows is right. The harness builds the
requests and grades by its own `ConfigurableTask` and scores them by `HFLM`: acc (the total), acc_norm (per character),
acc_bytes and acc_mutual_info (less the likelihood without a prompt). It has no score per token; that is held against
its log-likelihood over the tokens that its own `_encode_pair` gives. Nothing is timed: choices.py does that.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from setting import decoders, finish, parse, snli

from tunediff.config.evaluate import Evaluate
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.config.task import TaskSection
from tunediff.data.cases import Case, make_cases
from tunediff.engines.asking import ask_cases
from tunediff.engines.local.transformers_engine import TransformersEngine
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import CaseSet
from tunediff.models.load import Loaded
from tunediff.tasks import task_of

TEMPLATE = "Premise: {premise}\nWhat follows?"
LABELS = ["A", "B", "C"]
# The harness' name of each of our scores.
METRICS = {"sum": "acc", "character": "acc_norm", "byte": "acc_bytes", "unconditional": "acc_mutual_info"}
TOLERANCE = 1e-4


def main() -> None:
    """Ask both sides the same cases and print how far they are apart."""
    args = parse(__doc__, quick="60 cases", model=True)
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        sys.exit("lm-evaluation-harness is not installed: pip install --editable '.[bench]'")
    cases = choices_of_premises(60 if args.quick else 400)
    read = [TEMPLATE.format(**case.inputs) + f" {option}" for case in cases for option in case.options]
    model, peer, tokenizer = decoders(args, read)
    ours, graded = our_scores(model, tokenizer, cases)
    theirs, flags = their_scores(peer, tokenizer, cases)
    apart = {name: float(np.abs(ours[name] - theirs[name]).max()) for name in theirs}
    # The same numbers but for a rounding may be two that are equal for one side alone.
    differing = {name: int((graded[name] != flags[metric]).sum()) for name, metric in METRICS.items()}
    agreement, wrong = max(apart.values()), None
    if not agreement <= TOLERANCE or any(differing.values()):
        wrong = f"options: the sides differ by {agreement:.2g} nats, and in {differing} choices"
    line = {"name": "options", "cases": len(cases), "agreement": agreement, "tolerance": TOLERANCE}
    finish(args, line | {"choices_that_differ": differing}, wrong, apart=apart)


def choices_of_premises(n: int) -> list[Case]:
    """Premises of SNLI with a hypothesis of each label, the places of the right ones in turn."""
    by_premise: dict[str, dict[int, str]] = {}
    for row in snli(100_000):
        by_premise.setdefault(row["premise"], {})[int(row["label"])] = row["hypothesis"]
    whole = [(premise, texts) for premise, texts in by_premise.items() if len(texts) == len(LABELS)][:n]
    examples = []
    for number, (premise, texts) in enumerate(whole):
        places = [(place - number) % len(LABELS) for place in range(len(LABELS))]
        options = [texts[place] for place in places]
        examples.append(({"premise": premise}, LABELS[places.index(0)], (), (), options))
    return make_cases(examples)


def our_scores(model: Any, tokenizer: Any, cases: list[Case]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores of each option, of shape (n_cases, n_options), by name; and whether each score chooses the right one."""
    section = {"inputs": ["premise"], "labels": LABELS, "source_input": "premise", "partial_input": "premise"}
    whole = Model(source="folder", id="benchmark", head="lm", quantization="none")
    loaded = Loaded(model, tokenizer, 1024, tokenizer.pad_token_id, whole, LABELS)
    case_set = CaseSet(
        inputs=["premise"],
        labels=LABELS,
        partial_input="premise",
        prompt=Prompt(template=TEMPLATE),
        ask=Ask(answer="options", names=LABELS, unconditional=True),
    )
    evaluate = Evaluate(scoring_method="choices")
    answers = ask_cases(TransformersEngine(loaded, 4096), cases, case_set, evaluate, "tunediff")
    graded = {}
    for name in METRICS:
        task = task_of(TaskSection(name="multiple_choice", option_score=name, **section))
        graded[name] = task.grade(cases, answers, case_set.ask)["outcome"].to_numpy() == "right"
    columns = {name: np.array(answers[f"{name}_log_probs"].tolist()) for name in ("sum", "token", "unconditional")}
    return columns, graded


def their_scores(model: Any, tokenizer: Any, cases: list[Case]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same by lm-evaluation-harness."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16)
    docs = [
        {"premise": case.inputs["premise"], "options": list(case.options), "answer": LABELS.index(case.label)}
        for case in cases
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.jsonl"
        path.write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
        task = ConfigurableTask(
            config={
                "task": "options",
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"test": str(path)}},
                "test_split": "test",
                "output_type": "multiple_choice",
                "doc_to_text": TEMPLATE.replace("{premise}", "{{premise}}"),
                "doc_to_choice": "options",
                "doc_to_target": "answer",
                "metric_list": [{"metric": metric} for metric in METRICS.values()],
            }
        )
        task.build_all_requests()
    found = [score for score, _ in peer.loglikelihood(task.instances, disable_tqdm=True)]
    each = [[] for _ in docs]
    for instance, score in zip(task.instances, found, strict=True):
        each[instance.doc_id].append((instance.idx, score, instance.args))
    rows, flags = [], []
    for doc, answered in zip(docs, each, strict=True):
        answered.sort(key=lambda one: one[0])
        rows.append([score for _, score, _ in answered])
        flags.append(task.process_results(doc, [(score, False) for score in rows[-1]]))
    lengths = [
        [len(peer._encode_pair(*arguments)[1]) for _, _, arguments in answered[: len(LABELS)]] for answered in each
    ]
    scores = np.array(rows)
    sums, alone = scores[:, : len(LABELS)], scores[:, len(LABELS) :]
    columns = {"sum": sums, "token": sums / np.array(lengths), "unconditional": alone}
    table = pd.DataFrame(flags)
    return columns, {metric: table[metric].to_numpy() == 1 for metric in METRICS.values()}


if __name__ == "__main__":
    main()
