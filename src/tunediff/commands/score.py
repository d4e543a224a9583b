"""Score a file of SQuAD predictions like the official scripts.

    tunediff score --task squad_v2 --data dev-v2.0.json --predictions predictions.json
    tunediff score --task squad_v2 --data dev-v2.0.json --predictions predictions.json --na-probs na_prob.json --json
    tunediff score --task squad --data dev-v1.1.json --predictions predictions.json

Reads a data set in SQuAD's JSON, a file {question id: answer} (or n-best answers, or the list that `evaluate` takes),
and, for best_exact and best_f1 of squad_v2, a file
{question id: probability that there is no answer}. Prints the dictionary of evaluate-v2.0.py or evaluate-v1.1.py as a
table, or with --json as JSON. As in these scripts, a question of squad without an answer in the file counts as wrong,
with a warning; for squad_v2 it is an error.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tunediff.compare.pairs.formats.squad_answers import check_ids, no_answer_odds, squad_answers, unanswered
from tunediff.data.sources.squad_json import read_squad
from tunediff.metrics.squad import squad_scores, squad_v2_scores
from tunediff.runtime.errors import TunediffError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff score`."""
    parser.add_argument("--task", choices=["squad", "squad_v2"], required=True, help="version 1.1 or 2.0 of SQuAD")
    parser.add_argument("--data", type=Path, required=True, help="the data set")
    parser.add_argument("--predictions", type=Path, required=True, help="{question id: answer}, empty for no answer")
    parser.add_argument("--na-probs", type=Path, help="squad_v2: {question id: probability that there is no answer}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff score`.

    Raises:
        TunediffError: an argument or a file is invalid.
    """
    scores = squad_file_scores(args.task, args.data, args.predictions, args.na_probs)
    print(json.dumps(scores, indent=2) if args.json else table(scores))


def squad_file_scores(task: str, data: Path, predictions: Path, na_probs: Path | None) -> dict[str, float]:
    """Return the dictionary of the official script.

    Args:
        task: squad (version 1.1) or squad_v2.
        data: a data set in SQuAD's JSON.
        predictions: {question id: answer}.
        na_probs: {question id: probability that there is no answer}, for best_exact and best_f1 of squad_v2.

    Raises:
        TunediffError: a file is invalid, a question of squad_v2 has no prediction, or task and data do not match.
    """
    rows = read_squad(data)
    check_ids([row["id"] for row in rows], data)
    references = {row["id"]: row["answers"]["text"] for row in rows}
    answers = squad_answers(predictions)
    missing = unanswered(answers, list(references), predictions, data)
    if task == "squad":
        if na_probs is not None:
            raise TunediffError(f"--na-probs: found {na_probs} with --task squad, expected it only with squad_v2")
        without = [one for one, texts in references.items() if not texts]
        if without:
            raise TunediffError(
                f"{data}: found {len(without)} questions without an answer ({without[0]}), expected --task squad_v2"
            )
        if missing:
            print(f"tunediff: {missing}, counted as wrong, as in the official script", file=sys.stderr)
        return squad_scores(list(references.values()), [answers.get(one) for one in references])
    if missing:
        raise TunediffError(f"{missing}, expected one for each")
    # The script breaks ties of probabilities by their order in the file.
    probabilities = None if na_probs is None else no_answer_odds(na_probs, list(references), data)
    ids = list(references if probabilities is None else probabilities)
    return squad_v2_scores(
        [references[one] for one in ids],
        [answers[one] for one in ids],
        None if probabilities is None else list(probabilities.values()),
    )


def table(scores: Mapping[str, float]) -> str:
    """Return the scores as text, one per line: shares in percent with two decimals, counts and thresholds unchanged."""
    width = max(map(len, scores))
    return "\n".join(f"{key:<{width}}  {_figure(key, value):>9}" for key, value in scores.items())


def _figure(key: str, value: float) -> str:
    if key.endswith("total"):
        return f"{value:,}  "
    return f"{value:.4g}  " if key.endswith("thresh") else f"{value:.2f} %"
