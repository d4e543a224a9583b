"""Results of promptfoo (`promptfoo eval --output`), .json and .jsonl, with outcomes but without labels.

The object of a .json file (results version 3; shortened); a .jsonl file has one result per line:

    {"evalId": "...", "results": {"version": 3, "results": [{"testIdx": 0, "promptIdx": 0, "provider":
     {"id": "openai:x", "label": "base"}, "prompt": {"raw": "Say one", "label": "Say {{x}}"}, "vars": {"x": "one"},
     "response": {"output": "One."}, "success": true, "score": 1, "failureReason": 0, "namedScores": {}, ...}]}, ...}

A file may have several models; the user names one by its label, else by its id. A test with several prompts is one case
per prompt. Tests with the same variables (--repeat) and the prompts of one test form a cluster. failureReason 2 is an
error, which has no score.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tunediff.compare.pairs.file_format import FileFormat, ReadOptions, Rows
from tunediff.compare.pairs.graded import Graded, chosen_metric, from_graded, object_or_empty, text_or_none
from tunediff.compare.pairs.predictions import Predictions
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.runtime.hashing import content_hash

SUCCESS = "success"
ERROR = 2


def is_promptfoo(row: Mapping[str, Any]) -> bool:
    """Whether an object is a file of promptfoo's results, or one result."""
    inside = row.get("results")
    listed = isinstance(inside, dict) and isinstance(inside.get("results"), list)
    return listed or {"testIdx", "promptIdx", SUCCESS} <= row.keys()


def read_promptfoo(rows: Rows, name: str, options: ReadOptions) -> Predictions:
    """Return one model's results as predictions.

    Args:
        rows: the object, or its results.
        name: name of the file for error messages.
        options: part: the model, if there are several. metric: success (the default), score, or a named score.
            fields: the cluster, a variable.

    Raises:
        TunediffError: there are several models but none is named, or a result is malformed.
    """
    results = list(_results(rows, name))
    models = sorted({_model(one) for _, one in results})
    if (options.part is None and len(models) > 1) or (options.part is not None and options.part not in models):
        raise TunediffError(
            f"{name}: provider: found {shown(', '.join(models), 200)}, expected one of them as --filter (where one "
            "file has both models, --before-field and --after-field)"
        )
    chosen = [(number, one) for number, one in results if _model(one) == (options.part or models[0])]
    named = [key for _, one in chosen for key in object_or_empty(one.get("namedScores"))]
    metric, described = chosen_metric([SUCCESS, "score", *named], options.metric or SUCCESS, name)
    prompts = {_prompt_label(one): None for _, one in chosen}
    answers = [_answer(number, one, metric, list(prompts)) for number, one in chosen]
    shared = Counter(one.cluster for one in answers)
    if max(shared.values()) == 1:
        answers = [one._replace(cluster=None) for one in answers]
    origin = f"results of promptfoo, provider {shown(options.part or models[0])[1:-1]}, {described}"
    found = from_graded(answers, name, options, origin, metric)
    if max(shared.values()) == 1:
        return found
    sentence = (
        f"The {len(answers):,} results of {name} are of {len(shared):,} sets of variables. Each counts as a case; "
        "intervals treat those with the same variables as one cluster."
    )
    return found._replace(checks=(("TD404", sentence), *found.checks))


def _results(rows: Rows, name: str) -> Iterator[tuple[int | str, dict[str, Any]]]:
    for number, row in rows:
        inside = row.get("results")
        found = [(number, row)]
        if isinstance(inside, dict):
            listed = inside.get("results")
            found = list(enumerate(listed, start=1)) if isinstance(listed, list) else []
        for place, one in found:
            if not isinstance(one, dict) or SUCCESS not in one:
                raise TunediffError(f"{name}, row {place}: found {shown(one)}, expected a result of promptfoo")
            yield place, one


def _model(result: Mapping[str, Any]) -> str:
    provider = result.get("provider")
    if isinstance(provider, dict):
        return str(provider.get("label") or provider.get("id"))
    return str(provider) if provider else "(unnamed)"


def _prompt_label(result: Mapping[str, Any]) -> str:
    # Without labels, each test has its own prompt.
    return str(object_or_empty(result.get("prompt")).get("label") or "")


def _answer(number: int | str, result: Mapping[str, Any], metric: str, prompts: list[str]) -> Graded:
    prompt, variables, response = (object_or_empty(result.get(key)) for key in ("prompt", "vars", "response"))
    label = _prompt_label(result)
    test = str(result.get("testIdx", number))
    scores: dict[str, Any] = {**object_or_empty(result.get("namedScores")), SUCCESS: result[SUCCESS]}
    scores["score"] = result.get("score")
    error = result.get("failureReason") == ERROR or (result.get("response") is None and bool(result.get("error")))
    return Graded(
        number,
        test if len(prompts) == 1 else f"{test}, prompt {prompts.index(label) + 1}",
        None if error else scores.get(metric),
        text_or_none(response.get("output")),
        prompt=str(prompt.get("raw") or ""),
        cluster=content_hash(variables) if variables else test,
        why="error" if error else "no score",
        about=variables,
    )


FORMAT = FileFormat("results of promptfoo", is_promptfoo, read_promptfoo)
