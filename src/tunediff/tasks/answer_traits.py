"""What free answers are like, beside right and wrong: length, emptiness, repetition, another script than was asked for.

    traits(["the the the the the"], ["length"], [["one word"]])["trait_repetition"]     # [0.5]

None of them says that an answer is good. They show what fine-tuning did to the answers where grades may not: a model
that says everything twice, stops early, or answers in another script.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from tunediff.metrics.text import words

# Runs of so many words, as in "Neural Text Generation with Unlikelihood Training" (Welleck et al. 2020), seq-rep-4.
RUN = 4


CUT = "trait_cut"
"""Column that says whether an answer ran into the token limit."""


class Trait(NamedTuple):
    """What a trait is called, and whether it is a share in 0..1 rather than a number."""

    name: str
    is_share: bool


TRAITS: Mapping[str, Trait] = {
    "trait_words": Trait("words of an answer", is_share=False),
    "trait_empty": Trait("empty answers", is_share=True),
    CUT: Trait("answers cut off at the token limit", is_share=True),
    "trait_repetition": Trait("repeated runs of four words", is_share=True),
    "trait_other_script": Trait("answers in another script", is_share=True),
}


def traits(
    texts: Sequence[str], finish_reasons: Sequence[str], expected: Sequence[Sequence[str]]
) -> dict[str, list[float]]:
    """What each answer is like, by column.

    Args:
        texts: the answers as the model gave them.
        finish_reasons: why each ended.
        expected: of each case its references and inputs, whose scripts an answer may be in.

    Returns:
        trait_words: words, each character one where a script has no blanks between them. trait_empty: 1 where there is
        nothing but white space. trait_cut: 1 where it ran into the token limit. trait_repetition: share of its runs of
        four words that stood in it before, 0..1. trait_other_script: 1 where the script of most of its letters (Latin,
        Cyrillic, Arabic, ...) is that of no letter of `expected`. That is less than a change of language: from English
        to German nothing changes here.
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
    """The share of the runs of four words that are not the first of their kind, in 0..1; 0 where there is none."""
    runs = [tuple(found[at : at + RUN]) for at in range(len(found) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def in_other_script(text: str, expected: Sequence[str]) -> bool:
    """Whether the script of most letters of a text is that of no letter that was to be expected.

    >>> in_other_script("да", ["yes", "no"]), in_other_script("42", ["yes"]), in_other_script("oui", ["yes"])
    (True, False, False)
    """
    given, known = scripts(text), Counter(chain.from_iterable(map(scripts, expected)))
    return bool(given and known) and given.most_common(1)[0][0] not in known


def scripts(text: str) -> Counter[str]:
    """How many letters of each script a text has, by the first word of their Unicode names."""
    if text.isascii():
        letters = sum(map(str.isalpha, text))
        return Counter({"LATIN": letters} if letters else {})
    return Counter(unicodedata.name(letter, "UNKNOWN").split()[0] for letter in text if letter.isalpha())
