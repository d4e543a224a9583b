"""Export samples in the format of lm-evaluation-harness 0.4 (`--log_samples`).

write_samples(Path("samples"), answers)      # [Path("samples/base/samples_test.jsonl")]

Scored labels are written with their log-likelihoods and the metric acc, as for a multiple-choice task. Free-text
answers are written with the metric exact_match, as for a generation task; it is 1 if the task grades the answer as
right. Log-likelihoods are those of the prediction file, normalised over the labels. Whether a choice is the greedy
continuation is unknown and written as False. `tunediff diff` of two such files gives the same figures as of the
prediction files.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunediff.compare.pairs.formats.harness import NO_ANSWER
from tunediff.data.cases import INVALID, RIGHT, Case
from tunediff.report.exports.set_answers import SetAnswers
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import write_jsonl
from tunediff.runtime.hashing import content_hash


def write_samples(folder: Path, answers: SetAnswers) -> list[Path]:
    """Write the samples of one model; return the path of the file.

    Args:
        folder: folder to write to; the file is MODEL/samples_SET.jsonl below it.
        answers: answers of the model.

    Raises:
        TunediffError: an answer is empty and wrong, which in a sample would mean that there is no answer.
    """
    path = folder / answers.model / f"samples_{answers.set_name}.jsonl"
    write_jsonl(path, _samples(answers))
    return [path]


def _samples(answers: SetAnswers) -> Iterator[dict[str, Any]]:
    for number, (case, row) in enumerate(answers.rows()):
        doc = {"case_id": case.case_id, **case.inputs, "label": case.label}
        [target, *_] = answers.references(case)
        if case.options:
            # Two options may have the same text.
            target = str(answers.case_set.ask.names.index(case.label))
        yield {
            "doc_id": number,
            "doc": doc,
            "target": target,
            **(_choices if answers.likelihoods else _text)(answers, case, row),
            "filter": "none",
            "doc_hash": content_hash(doc),
            "prompt_hash": row["prompt_hash"],
            "target_hash": content_hash(target),
        }


def _choices(answers: SetAnswers, case: Case, row: dict[str, Any]) -> dict[str, Any]:
    responses = [[repr(float(value)), "False"] for value in row["log_probs"]]
    prompt = answers.prompt(case)
    requests = [{"arg_0": prompt, "arg_1": text} for text in answers.continuations(case)]
    return {
        "arguments": {f"gen_args_{at}": one for at, one in enumerate(requests)},
        "resps": [[one] for one in responses],
        "filtered_resps": responses,
        "metrics": ["acc"],
        "acc": float(row["outcome"] == RIGHT),
    }


def _text(answers: SetAnswers, case: Case, row: dict[str, Any]) -> dict[str, Any]:
    answer = NO_ANSWER if row["outcome"] == INVALID else answers.answer(case, row)
    if row["outcome"] not in (RIGHT, INVALID) and (answer or "").strip() in ("", NO_ANSWER):
        raise TunediffError(
            f"case {case.case_id}: prediction: found an empty answer that is wrong, which a sample of "
            "lm-evaluation-harness cannot distinguish from no answer; expected another --format"
        )
    return {
        "arguments": {"gen_args_0": {"arg_0": answers.prompt(case), "arg_1": {"until": answers.case_set.ask.stop}}},
        "resps": [[row["text"] or ""]],
        "filtered_resps": [answer],
        "metrics": ["exact_match"],
        "exact_match": float(row["outcome"] == RIGHT),
    }
