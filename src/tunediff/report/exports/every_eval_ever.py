"""Export evaluations to Every Eval Ever, schema 0.3.0: https://github.com/evaleval/every_eval_ever

    write_evaluation(Path("eee"), answers)
    # [Path("eee/data/test/local/base/UUID.json"), Path("eee/data/test/local/base/UUID_samples.jsonl")]

One file has the figures of a model with their uncertainty, the other has one line per case. The publisher fills in
`source_organization_name`, which is written as unknown. File names are hashes of the content without the time of
writing, so the same answers get the same names.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tunediff.data.cases import RIGHT
from tunediff.report.exports.set_answers import SetAnswers
from tunediff.runtime.files import write_json, write_jsonl
from tunediff.runtime.hashing import content_hash

SCHEMA = "0.3.0"


def write_evaluation(folder: Path, answers: SetAnswers) -> list[Path]:
    """Write the evaluation of one model and its cases; return the paths of the two files.

    Args:
        folder: folder to write to; the files are in data/SET/DEVELOPER/MODEL/ below it, as in the collection.
        answers: answers of the model.
    """
    now = str(int(time.time()))
    name = answers.set_name
    evaluation = f"{name}/{answers.model_id}/{now}"
    result = f"{name}/accuracy"
    cases = list(_cases(answers, evaluation, result))
    known = [{key: value for key, value in case.items() if key != "evaluation_id"} for case in cases]
    unique = uuid.UUID(bytes=hashlib.sha256(content_hash(known).encode()).digest()[:16], version=4)
    developer, _, model = answers.model_id.rpartition("/")
    place = Path("data") / name / (developer or "unknown") / model
    samples = place / f"{unique}_samples.jsonl"
    write_jsonl(folder / samples, cases)
    written = (folder / samples).read_bytes()
    write_json(
        folder / place / f"{unique}.json",
        {
            "schema_version": SCHEMA,
            "evaluation_id": evaluation,
            "retrieved_timestamp": now,
            "source_metadata": {
                "source_name": "tunediff",
                "source_type": "evaluation_run",
                "source_organization_name": "unknown",
                "evaluator_relationship": "other",
            },
            "eval_library": {"name": "tunediff", "version": version("tunediff")},
            "model_info": {
                "name": model,
                "id": answers.model_id,
                "developer": developer or "unknown",
                "additional_details": {"deployment_type": "self_deployed", "model_availability": "unknown"},
            },
            "evaluation_results": list(_results(answers, result)),
            "detailed_evaluation_results": {
                "format": "jsonl",
                "file_path": samples.as_posix(),
                "hash_algorithm": "sha256",
                "checksum": hashlib.sha256(written).hexdigest(),
                "total_rows": len(cases),
            },
        },
    )
    return [folder / place / f"{unique}.json", folder / samples]


def _results(answers: SetAnswers, accuracy: str) -> Iterator[dict[str, Any]]:
    figures = answers.figures
    interval = {
        "lower": figures["accuracy_low"],
        "upper": figures["accuracy_high"],
        "confidence_level": answers.confidence,
        "method": "Wilson 1927",
    }
    uncertainty = {"num_samples": len(answers.cases)}
    yield _result(answers, accuracy, "accuracy", figures["accuracy"], uncertainty | {"confidence_interval": interval})
    for stem, words in answers.score_names.items():
        yield _result(answers, f"{answers.set_name}/{stem}", words, figures[stem], uncertainty)


def _result(
    answers: SetAnswers, identifier: str, metric: str, score: float, uncertainty: dict[str, Any]
) -> dict[str, Any]:
    source: dict[str, Any] = {"dataset_name": answers.dataset, "source_type": "other"}
    if answers.hub_dataset is not None:
        source |= {"source_type": "hf_dataset", "hf_repo": answers.hub_dataset}
    return {
        "evaluation_result_id": identifier,
        "evaluation_name": answers.set_name,
        "source_data": source,
        "metric_config": {
            **{"metric_id": identifier.rpartition("/")[2], "metric_name": metric, "metric_unit": "proportion"},
            **{"lower_is_better": False, "score_type": "continuous", "min_score": 0, "max_score": 1},
        },
        "score_details": {"score": score, "uncertainty": uncertainty},
    }


def _cases(answers: SetAnswers, evaluation: str, result: str) -> Iterator[dict[str, Any]]:
    for case, row in answers.rows():
        prompt, references = answers.prompt(case), answers.references(case)
        answer, right = answers.answer(case, row), row["outcome"] == RIGHT
        choices = [text.strip() for text in answers.continuations(case)] if answers.likelihoods else None
        yield {
            "schema_version": SCHEMA,
            "evaluation_id": evaluation,
            "model_id": answers.model_id,
            "evaluation_name": answers.set_name,
            "evaluation_result_id": result,
            "sample_id": case.case_id,
            "sample_hash": hashlib.sha256((prompt + json.dumps(references)).encode()).hexdigest(),
            "interaction_type": "single_turn",
            "input": {"raw": prompt, "reference": references, "choices": choices},
            "output": {"raw": [row["text"] or answer or ""]},
            "answer_attribution": [
                {
                    **{"turn_idx": 0, "source": "output.raw", "extracted_value": answer or ""},
                    **{"extraction_method": row["scorer"], "is_terminal": True},
                }
            ],
            "evaluation": {"score": float(right), "is_correct": right},
            "metadata": {"outcome": row["outcome"], **({"tags": ", ".join(case.tags)} if case.tags else {})},
        }
