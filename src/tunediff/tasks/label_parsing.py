"""Parse generated answers as labels; the rules are in docs/parsing.md."""

import re
from collections.abc import Mapping

_QUOTES = "\"'`´“”„‘’‚«»()[]{}"


_STOPS = ".,;:!?…。，；：！？"


# Ignored before an answer: white space, quotes, brackets, emphasis, and the marks of lists, quotations and headings.
_BEFORE = re.compile(rf"(?:[\s{re.escape(_QUOTES)}*_~]|(?:[-–—•>+]|#+|\d+[.)])(?=\s))*")


# Allowed after a choice: the end of text or line, or punctuation that does not join it to more, as in 1.5 and no-one.
_BEHIND = re.compile(rf"[^\S\n]*(?:\Z|\n|_+(?!\w)|(?![-'’]\w|[.,:–]\d)[{re.escape(_STOPS + _QUOTES)}*~<–—-])")


def parse_answer(text: str, choices: Mapping[str, str]) -> str | None:
    """Return the label that a generated answer names, or None if it names none or two (docs/parsing.md).

    An answer names a label if it starts with the text of its choice, ignoring case, followed by the end of the text or
    line, or by punctuation. White space, quotes, brackets, emphasis and list marks before it are ignored. Of several
    matching choices, such as `not` and `not entailed`, the longest one counts.

    >>> choices = {"e": "entailment", "n": "neutral"}
    >>> parse_answer(" **Entailment**, because a dog is an animal.", choices)
    'e'
    >>> parse_answer("neutral ground", choices), parse_answer("entailment, neutral", choices)
    (None, None)
    """
    answer, plain = text.strip().casefold(), _plain(choices)
    named, rest = _first_choice(answer, plain)
    other, _ = _first_choice(rest, plain)
    return named if other in (None, named) else None


def _first_choice(answer: str, choices: Mapping[str, str]) -> tuple[str | None, str]:
    """The label of the only longest choice that the answer starts with, and the rest of its line."""
    for start in (answer, _BEFORE.sub("", answer, count=1)):  # a choice may itself start with such marks
        fitting = {label: choice for label, choice in choices.items() if _starts_with(start, choice)}
        if fitting:
            longest = max(map(len, fitting.values()))
            named = [label for label, choice in fitting.items() if len(choice) == longest]
            rest = start[longest:].partition("\n")[0].lstrip(f"{_STOPS}{_QUOTES} <–—-")
            return (named[0] if len(named) == 1 else None), rest
    return None, ""


def _starts_with(answer: str, choice: str) -> bool:
    """Whether `answer` starts with `choice` as a whole word or phrase."""
    return bool(choice) and answer.startswith(choice) and _BEHIND.match(answer, len(choice)) is not None


def _plain(choices: Mapping[str, str]) -> dict[str, str]:
    """The texts of the choices in the form that answers are compared with."""
    folded = {label: choice.strip().casefold() for label, choice in choices.items()}
    # A choice of punctuation only is kept, and so are the signs of `A*` and `B-`.
    return {label: choice.lstrip(_QUOTES).rstrip(f"{_STOPS}{_QUOTES} ") or choice for label, choice in folded.items()}
