"""Traits of free-text answers other than right and wrong: length, emptiness, repetition, unexpected script.

    traits(["the the the the the"], ["length"], [["one word"]])["trait_repetition"]     # [0.5]

A trait is neither good nor bad. Traits show changes that grades may miss: a model that repeats itself, stops early, or
answers in another script.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from tunediff.metrics.text import words

# Number of words in a sequence, as in "Neural Text Generation with Unlikelihood Training" (Welleck et al. 2020),
# seq-rep-4.
RUN = 4


CUT = "trait_cut"
"""The column that is 1 if an answer reached the token limit."""


class Trait(NamedTuple):
    """The name of a trait, and whether it is a share in 0..1 rather than a number."""

    name: str
    is_share: bool


TRAITS: Mapping[str, Trait] = {
    "trait_words": Trait("words per answer", is_share=False),
    "trait_empty": Trait("empty answers", is_share=True),
    CUT: Trait("answers cut off at the token limit", is_share=True),
    "trait_repetition": Trait("repeated sequences of four words", is_share=True),
    "trait_other_script": Trait("answers in another script", is_share=True),
}


def traits(
    texts: Sequence[str], finish_reasons: Sequence[str], expected: Sequence[Sequence[str]]
) -> dict[str, list[float]]:
    """Return the traits of each answer, by column.

    Args:
        texts: the answers as generated.
        finish_reasons: why the generation of each ended.
        expected: references and inputs of each case, whose scripts an answer may have.

    Returns:
        trait_words: number of words; in scripts without spaces, each character counts as one. trait_empty: 1 if there
        is only white space. trait_cut: 1 if the answer reached the token limit. trait_repetition: share of sequences of
        four words that occurred before in the answer, 0..1. trait_other_script: 1 if the script of most letters (Latin,
        Cyrillic, Arabic, ...) does not occur in `expected`; languages with the same script are not distinguished.
    """
    divided = [words(text).split() for text in texts]
    return {
        "trait_words": [float(len(each)) for each in divided],
        "trait_empty": [float(not each) for each in divided],
        CUT: [float(reason == "length") for reason in finish_reasons],
        "trait_repetition": list(map(repetition, divided)),
        "trait_other_script": [float(in_other_script(text, one)) for text, one in zip(texts, expected, strict=True)],
    }


def repetition(found: Sequence[str]) -> float:
    """Return the share of sequences of four words that occurred before, in 0..1; 0 if there are none."""
    runs = [tuple(found[at : at + RUN]) for at in range(len(found) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def in_other_script(text: str, expected: Sequence[str]) -> bool:
    """Return whether the script of most letters of a text does not occur in the expected texts.

    >>> in_other_script("да", ["yes", "no"]), in_other_script("42", ["yes"]), in_other_script("oui", ["yes"])
    (True, False, False)
    """
    given, known = scripts(text), Counter(chain.from_iterable(map(scripts, expected)))
    return bool(given and known) and given.most_common(1)[0][0] not in known


def scripts(text: str) -> Counter[str]:
    """Count the letters of a text by script, the first word of their Unicode names."""
    if text.isascii():
        letters = sum(map(str.isalpha, text))
        return Counter({"LATIN": letters} if letters else {})
    return Counter(unicodedata.name(letter, "UNKNOWN").split()[0] for letter in text if letter.isalpha())
