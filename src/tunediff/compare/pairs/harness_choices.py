"""Choices in samples of lm-evaluation-harness, and the choice that each metric selects.

    responses = [["-1.5", "False"], ["-0.3", "True"], ["-2.0", "False"]]
    read_choices(responses, [" True", " Neither", " False"], False, "samples.jsonl, row 1").scores  # [-1.5, -0.3, -2.0]
    labels, scores, checks = choose(frame, "acc", "samples.jsonl")
    frame["prediction"]                                    # "Neither", ...: the choice that acc takes in each case

Each metric has its rule: acc selects the highest log-likelihood, acc_norm divides it by the number of characters first,
acc_bytes by the number of bytes, acc_mutual_info subtracts the log-likelihood of the choice without its prompt, and
exact_match selects the greedy answer.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tunediff.compare.pairs.align import first_three
from tunediff.compare.pairs.label_order import Table
from tunediff.data.cases import INVALID, RIGHT
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

OTHER = "(not the target)"


class Choices(NamedTuple):
    """The choices of one case: texts, log-likelihoods, and whether each is the greedy answer.

    alone: log-likelihoods without the prompt, if the file has them. texts: empty if the file has none. tokens: number
    of tokens of each choice, if the file has it.
    """

    texts: list[str]
    scores: list[float]
    greedy: list[bool]
    alone: list[float] | None
    tokens: list[int] | None = None


def has_likelihoods(responses: Any, requests: list[list[Any]]) -> bool:
    """Whether the responses are pairs of a log-likelihood and whether it was the greedy answer."""
    pairs = (
        isinstance(responses, list)
        and bool(responses)
        and all(isinstance(one, list) and len(one) == 2 and str(one[1]) in ("True", "False") for one in responses)
    )
    if not pairs or not requests:
        return pairs and all(reads_as_number(one[0]) for one in responses)
    # A request for generated text has an object with stop conditions.
    return not any(isinstance(part, dict) for part in requests[0])


def reads_as_number(value: Any) -> bool:
    """Whether a value is a number, or text that can be parsed as one."""
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def read_choices(responses: list[Any], texts: list[str], twice: bool, place: str) -> Choices:
    """Return the choices of a case.

    Args:
        responses: of length n_choices: pairs of a log-likelihood and whether it was the greedy answer.
        texts: the text of the choice in each request; of another length if the file does not have them.
        twice: whether every choice occurs a second time without its prompt, as for acc_mutual_info.
        place: file and row for error messages.

    Raises:
        TunediffError: a log-likelihood is not a number, or their number is odd although `twice` is set.
    """
    try:
        scores = [float(response[0]) for response in responses]
    except (TypeError, ValueError, OverflowError):
        raise TunediffError(f"{place}: filtered_resps: found {shown(responses)}, expected log-likelihoods") from None
    greedy = [str(response[1]) == "True" for response in responses]
    texts = texts if len(texts) == len(scores) else []
    if not twice:
        return Choices(texts, scores, greedy, None)
    if len(scores) % 2:
        raise TunediffError(
            f"{place}: filtered_resps: found {len(scores)} log-likelihoods, expected two for each choice, as for "
            "acc_mutual_info"
        )
    half = len(scores) // 2
    return Choices(texts[:half], scores[:half], greedy[:half], scores[half:])


def choose(
    frame: pd.DataFrame, metric: str, name: str
) -> tuple[tuple[str, ...] | None, Table | None, list[tuple[str, str]]]:
    """Set the predictions to the choices that the metric selects, and replace choice numbers by their texts.

    Args:
        frame: one row per case, with `label`, `outcome` and `choices` (None if there is only one); `prediction`, and if
            necessary `label` and `outcome`, are changed in place.
        metric: the metric of the outcomes.
        name: name of the file for error messages.

    Returns:
        The label list if all cases have the same choices, their log-likelihoods of shape (n_cases, n_choices), and the
        checks that the file fails.

    Raises:
        TunediffError: most outcomes contradict the log-likelihoods.
    """
    checks = []
    several = frame["choices"].notna()
    rows = frame[several]
    offered: list[Choices] = rows["choices"].tolist()
    right = (rows["outcome"] == RIGHT).tolist()
    # Choose the interpretation of the targets that agrees best with the outcomes.
    best, words = (0, 0), True
    picks: list[int | None] = []
    gold: list[frozenset[int]] = []
    wrong: list[int] = []
    for in_words in (True, False):
        meant = [_gold(target, one, in_words) for target, one in zip(rows["label"], offered, strict=True)]
        for rule in _rules(metric):
            found = [rule(one, right_ones) for one, right_ones in zip(offered, meant, strict=True)]
            against = [
                at
                for at, (pick, right_ones) in enumerate(zip(found, meant, strict=True))
                if pick is not None and right_ones and (pick in right_ones) != right[at]
            ]
            fit = (sum(not one for one in meant), len(against))
            if not picks or fit < best:
                best, words, picks, gold, wrong = fit, in_words, found, meant, against
    checked = sum(pick is not None and bool(right_ones) for pick, right_ones in zip(picks, gold, strict=True))
    if wrong:
        first = first_three(rows.index[wrong])
        cases = f"{len(wrong):,} of {checked:,} cases (row{'s' * (len(wrong) > 1)} {first})"
        if 2 * len(wrong) > checked:
            raise TunediffError(
                f"{name}: {metric}: found outcomes that contradict the log-likelihoods in {cases}, expected the "
                "choice that they favour to be right wherever the metric says so (another --metric?)"
            )
        sentence = (
            f"In {cases} of {name} the log-likelihoods favour a choice that contradicts {metric}. Outcomes are taken "
            "from the file, predictions from the log-likelihoods."
        )
        checks.append(("TD402", sentence))
    invalid = rows.index[[pick is None for pick in picks]]
    frame.loc[invalid, "outcome"] = INVALID
    if len(invalid):
        cases = f"{len(invalid):,} of {len(frame):,} cases of {name}"
        checks.append(("TD403", f"In {cases} a log-likelihood is NaN: they count as invalid."))
    labels = _name_choices(frame, rows.index, offered, picks, gold, in_words=words and any(gold))
    scores = np.array([one.scores for one in offered], dtype=np.float64) if labels and several.all() else None
    # An impossible choice, such as one longer than the context, has a log-likelihood of minus infinity.
    scores = scores if scores is not None and np.isfinite(scores).all() else None
    return labels, scores, checks


def _name_choices(
    frame: pd.DataFrame,
    index: pd.Index,
    offered: list[Choices],
    picks: list[int | None],
    gold: list[frozenset[int]],
    in_words: bool,
) -> tuple[str, ...] | None:
    """Write the choices to `frame`, by text if the texts are distinct; return the label list if it is fixed."""
    texts = [tuple(text.strip() for text in one.texts) for one in offered]
    named = bool(texts) and all(one and len(set(one)) == len(one) for one in texts)
    fixed = texts[0] if named and len(set(texts)) == 1 else None
    if in_words and not all(gold):
        fixed = None  # a target that is not among the choices cannot be in the label list
    single = bool(gold) and all(len(right_ones) == 1 for right_ones in gold)
    if not (named and in_words) and not (fixed and single):
        texts = [tuple(map(str, range(len(one.scores)))) for one in offered]
        fixed = texts[0] if single and not in_words and len(set(texts)) == 1 else None
    elif not in_words:
        frame.loc[index, "label"] = [one[min(right_ones)] for one, right_ones in zip(texts, gold, strict=True)]
    given = [None if pick is None else OTHER if pick < 0 else one[pick] for one, pick in zip(texts, picks, strict=True)]
    frame.loc[index, "prediction"] = pd.Series(given, index=index, dtype=object)
    return fixed


# Returns the number of the choice that a metric selects, given the right ones: -1 if none, None if it is undefined.
Rule = Callable[[Choices, frozenset[int]], int | None]


def _rules(metric: str) -> list[Rule]:
    """The possible rules of a metric, the most likely one first."""
    # Whether the space before a continuation counts as part of the choice depends on the task; mostly it does not.
    cuts: list[Callable[[str], str]] = [lambda text: text.removeprefix(" "), str, str.strip]
    characters = [_by_length(len, cut) for cut in cuts]
    in_bytes = [_by_length(lambda text: len(text.encode()), cut) for cut in cuts]
    known: dict[str, list[Rule]] = {
        "acc": [_highest],
        "mcc": [_highest],
        "acc_norm": characters,
        "acc_bytes": in_bytes,
        "acc_mutual_info": [_mutual_information],
        "exact_match": [_greedy],
    }
    return known.get(metric) or [_highest, *characters, *in_bytes, _by_tokens, _mutual_information, _greedy]


def _highest(choices: Choices, _: frozenset[int]) -> int | None:
    return _first_highest(choices.scores)


def _by_length(measure: Callable[[str], int], cut: Callable[[str], str]) -> Rule:
    def rule(choices: Choices, _: frozenset[int]) -> int | None:
        lengths = [max(1, measure(cut(text))) for text in choices.texts] or [1] * len(choices.scores)
        return _first_highest([score / length for score, length in zip(choices.scores, lengths, strict=True)])

    return rule


def _by_tokens(choices: Choices, _: frozenset[int]) -> int | None:
    lengths = choices.tokens or [1] * len(choices.scores)
    return _first_highest([score / max(1, one) for score, one in zip(choices.scores, lengths, strict=True)])


def _mutual_information(choices: Choices, _: frozenset[int]) -> int | None:
    if choices.alone is None or len(choices.alone) != len(choices.scores):
        return None
    return _first_highest([score - alone for score, alone in zip(choices.scores, choices.alone, strict=True)])


def _greedy(choices: Choices, gold: frozenset[int]) -> int | None:
    if any(map(math.isnan, choices.scores)):
        return None
    greedy = [place for place, one in enumerate(choices.greedy) if one]
    # Several choices can be greedy if one is a prefix of another.
    return next((place for place in greedy if place in gold), greedy[0] if greedy else -1)


def _first_highest(values: Sequence[float]) -> int | None:
    return None if any(map(math.isnan, values)) else int(np.argmax(values))


def _gold(target: str, choices: Choices, in_words: bool) -> frozenset[int]:
    """The numbers of the choices that a target refers to; empty if none.

    Tasks give the target as the number of a choice, as several numbers, or as its text.
    """
    if in_words:
        return frozenset(at for at, text in enumerate(choices.texts) if text.strip() == target.strip())
    numbers = [int(one) for one in re.findall(r"[0-9]{1,9}", target)]
    listed = re.fullmatch(r"[0-9]{1,9}|\[[0-9]{1,9}(, [0-9]{1,9})*\]", target)
    return frozenset(numbers) if listed and max(numbers) < len(choices.scores) else frozenset()
