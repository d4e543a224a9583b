"""Features of the texts of a case: length, negation, figures, overlap of the inputs.

    premise     A man in a red coat is feeding two dogs.
    hypothesis  A man is not feeding two dogs.
    words 17, negation "in hypothesis", number_words True, overlap 0.86 (all but "not"), subsequence False

Overlap and subsequence are two of the heuristics that an NLI model may follow instead of reading (McCoy et al. 2019,
HANS); negation in the hypothesis is another cue (Gururangan et al. 2018).
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.data.cases import Case

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

NEGATIONS = frozenset(
    {"no", "not", "never", "none", "nobody", "nothing", "nowhere", "neither", "nor", "cannot", "without"}
)
NUMBERS = frozenset(
    {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"}
    | {"dozen", "hundred", "thousand", "million"}
)
# A word is rare if fewer training cases have it.
RARE = 5

# A contraction is one word: "isn't" is a negation, "isn" and "t" are not.
_WORD = re.compile(r"\w+(?:['’]\w+)*")
# Number of cases processed at a time, because a million at once would need gigabytes.
_CHUNK = 50_000


@dataclass(frozen=True)
class _Words:
    """The words of texts as integers, concatenated; text i is codes[ends[i]:ends[i + 1]]."""

    codes: npt.NDArray[np.int64]
    ends: Counts

    def count(self, flags: Flags) -> Counts:
        """Count the flagged words of each text, given one flag per word of the vocabulary."""
        sums = np.concatenate([[0], np.cumsum(flags[self.codes])])
        counts: Counts = sums[self.ends[1:]] - sums[self.ends[:-1]]
        return counts

    def keys(self, size: int) -> npt.NDArray[np.int64]:
        """Return one number per text and word in it, given the size of the vocabulary."""
        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends)) * size + self.codes


def wording(
    cases: Sequence[Case], inputs: Sequence[str], partial_input: str, train: Sequence[Case] = ()
) -> pd.DataFrame:
    """Return features of the texts of each case, by case_id, in the order of the cases.

    Args:
        cases: the cases.
        inputs: names of the inputs.
        partial_input: the input (hypothesis) that is compared with the others (premise).
        train: training cases that decide which words are rare; without them, there is no column rare_words.

    Returns:
        words: number of words in all inputs. negation: "none", or the inputs that have one: "in hypothesis", "in
        premise and hypothesis". number_words: whether an input has a figure or a number word. With several inputs:
        overlap, the share of the hypothesis' words that occur in the premise, 0..1; subsequence, whether the hypothesis
        occurs there verbatim. With training cases: rare_words, "unseen" (a word is not in training), "rare" (a word is
        in fewer than `RARE` training cases) or "none".
    """
    vocabulary: defaultdict[str, int] = defaultdict(count().__next__)
    having = _cases_having(train, inputs, vocabulary)
    chunks = [
        _describe(cases[at : at + _CHUNK], inputs, partial_input, vocabulary, having)
        for at in range(0, len(cases), _CHUNK)
    ]
    if not train:
        chunks = [chunk.drop(columns="rare_words") for chunk in chunks]
    index = pd.Index([case.case_id for case in cases], name="case_id")
    return pd.concat(chunks).set_axis(index)


def _describe(
    cases: Sequence[Case], inputs: Sequence[str], partial_input: str, vocabulary: defaultdict[str, int], having: Counts
) -> pd.DataFrame:
    texts = {name: _read((case.inputs[name] for case in cases), vocabulary) for name in inputs}
    names = list(vocabulary)
    negation = np.array([word in NEGATIONS or word.endswith(("n't", "n’t")) for word in names], dtype=bool)
    number = np.array([word in NUMBERS or any(map(str.isdecimal, word)) for word in names], dtype=bool)
    having = np.pad(having, (0, len(names) - len(having)))
    each = texts.values()
    columns: dict[str, Any] = {
        "words": sum(np.diff(one.ends) for one in each),
        "negation": _where({name: one.count(negation) > 0 for name, one in texts.items()}),
        "number_words": sum(one.count(number) for one in each) > 0,
        "rare_words": np.select(
            [sum(one.count(having == 0) for one in each) > 0, sum(one.count(having < RARE) for one in each) > 0],
            ["unseen", "rare"],
            "none",
        ),
    }
    if len(texts) > 1:
        alone = texts.pop(partial_input)
        columns |= _shared(alone, list(texts.values()), len(names))
    return pd.DataFrame(columns)


def _shared(alone: _Words, others: Sequence[_Words], size: int) -> dict[str, Any]:
    """The overlap and subsequence of the texts `alone` with the others."""
    shared = np.isin(alone.keys(size), np.concatenate([other.keys(size) for other in others]))
    sums = np.concatenate([[0], np.cumsum(shared)])
    lengths = np.diff(alone.ends)
    overlap = (sums[alone.ends[1:]] - sums[alone.ends[:-1]]) / np.maximum(lengths, 1)
    subsequence = np.zeros(len(lengths), dtype=bool)
    for i in np.flatnonzero(overlap == 1).tolist():
        needle = _spelled(alone, i)
        subsequence[i] = any(needle in _spelled(other, i) for other in others)
    return {"overlap": overlap, "subsequence": subsequence}


def _spelled(words: _Words, i: int) -> str:
    return " " + " ".join(map(str, words.codes[words.ends[i] : words.ends[i + 1]])) + " "


def _read(texts: Iterable[str], vocabulary: defaultdict[str, int]) -> _Words:
    codes, ends = array("q"), [0]
    for text in texts:
        codes.extend([vocabulary[word] for word in _WORD.findall(text.casefold())])
        ends.append(len(codes))
    return _Words(np.frombuffer(codes, dtype=np.int64) if codes else np.empty(0, np.int64), np.array(ends))


def _cases_having(train: Sequence[Case], inputs: Sequence[str], vocabulary: defaultdict[str, int]) -> Counts:
    """The number of training cases that have each word of the vocabulary."""
    having = np.zeros(0, dtype=np.int64)
    for at in range(0, len(train), _CHUNK):
        texts = (" ".join(case.inputs[name] for name in inputs) for case in train[at : at + _CHUNK])
        words = _read(texts, vocabulary)
        size = len(vocabulary)
        counts = np.bincount(np.unique(words.keys(size)) % size, minlength=size) if size else having
        having = np.pad(having, (0, size - len(having))) + counts
    return having


def _where(flags: dict[str, Flags]) -> npt.NDArray[np.object_]:
    """The names of the inputs that have a flag, as one text per case."""
    numbers = sum(flag.astype(np.int64) << bit for bit, flag in enumerate(flags.values()))
    named = (
        " and ".join(name for bit, name in enumerate(flags) if number >> bit & 1) for number in range(1 << len(flags))
    )
    places: npt.NDArray[np.object_] = np.array([f"in {names}" if names else "none" for names in named], dtype=object)
    return np.asarray(places[numbers])
