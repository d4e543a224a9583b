r"""Grade free-text answers: extract the answer from the text, and score it in 0..1.

    grader = Grader(Grade(by="number", pattern=r"#### (.*)"))
    grader.taken("6 x 7 = 42\n#### 42")                          # "42"
    grader.score(Gold("id", {}, ("42",)), "42.0")                # 1.0

A method is an entry of `METHODS`, a module of `evaluate`, or the user's function in the folder `graders`, which runs
only if params.yaml names it.
"""

import json
import math
import re
import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tunediff.config.grade import GRADERS, Grade
from tunediff.metrics.named import case_scores
from tunediff.metrics.squad import token_f1
from tunediff.metrics.text import bleu_cases, chrf_cases, meteor_cases, meteor_name, rouge_cases
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import from_json, read_text, shown

FUNCTION = re.compile(r"([\w-]+(?:/[\w-]+)*\.py):([A-Za-z_]\w*)")
MODULE = "evaluate:"

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b", re.IGNORECASE)
# A comma separates thousands, a point the fraction; 3-4 ends with the number 4.
_NUMBER = (
    r"(?:(?<![\w.])[-+\u2212][$€£¥]?)?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)(?:[eE][-+]?\d{1,3})?"
)
_SIGNS = "$€£¥%"


class Gold(NamedTuple):
    """A case for grading: id, inputs by name, and references in the form that the grade reads."""

    case_id: str
    inputs: Mapping[str, str]
    references: tuple[str, ...]


class Method(NamedTuple):
    """A grading method.

    words: name of the score. score: function that scores an extracted answer in 0..1. decides: whether scores are 0 or
    1, so that they need no threshold. taken: function that extracts the answer from a text; None if there is none.
    keys: keys of `Grade` that it reads in addition to name, threshold and pattern.
    """

    words: str
    score: Callable[[Grade, Gold, str], float]
    decides: bool = False
    taken: Callable[[str], str | None] = lambda text: text
    keys: tuple[str, ...] = ()


def plain(text: str, ignore: Sequence[str]) -> str:
    """Return a text without the ignored differences, and without spaces around it.

    >>> plain(" The  Éclair! ", ["case", "punctuation", "articles", "accents", "space"])
    'eclair'
    """
    if "accents" in ignore:
        parts = unicodedata.normalize("NFD", text)
        text = unicodedata.normalize("NFC", "".join(one for one in parts if unicodedata.category(one) != "Mn"))
    if "case" in ignore:
        text = text.casefold()
    if "punctuation" in ignore:
        text = text.translate(_PUNCTUATION)
    if "articles" in ignore:
        text = _ARTICLES.sub(" ", text)
    return " ".join(text.split()) if {"space", "articles"} & set(ignore) else text.strip()


def _exact(grade: Grade, gold: Gold, answer: str) -> float:
    found = plain(answer, grade.ignore)
    return float(any(plain(reference, grade.ignore) == found for reference in gold.references))


def _contains(grade: Grade, gold: Gold, answer: str) -> float:
    found = plain(answer, grade.ignore)
    parts = [plain(reference, grade.ignore) for reference in gold.references]
    return float(any(part in found for part in parts if part))


def number_in(text: str) -> str | None:
    """Return the last number in a text, None if there is none.

    >>> number_in("It took 1,250.50 EUR in 3-4 days, so 1,250.50."), number_in("1.234,5"), number_in("none")
    ('1,250.50', '5', None)
    >>> number_in("The total is 1,000, as computed."), number_in("a chance of .5"), number_in("it lost -$5")
    ('1,000', '.5', '-$5')
    """
    found = re.findall(_NUMBER, text)
    return found[-1] if found else None


def number_of(text: str) -> Decimal | None:
    """Return the value of a text that is a number, None otherwise; currency and percent signs are ignored.

    >>> number_of("$1,250.50"), number_of("42."), number_of("1.234,5"), number_of("about 3"), number_of("-$5")
    (Decimal('1250.50'), Decimal('42'), None, None, Decimal('-5'))
    """
    text = text.strip().strip(_SIGNS).strip().rstrip(".")
    if not re.fullmatch(_NUMBER, text):
        return None
    return Decimal(text.translate(str.maketrans("\u2212", "-", ",$€£¥")))


def _numeral(text: str) -> str | None:
    return None if number_of(text) is None else text


def _number(grade: Grade, gold: Gold, answer: str) -> float:
    found, wanted = number_of(answer), [_wanted_number(gold, reference) for reference in gold.references]
    # Decimals, because as floats 0.3 and 0.4 differ by more than 0.1.
    allowed, share = Decimal(str(grade.tolerance)), Decimal(str(grade.relative_tolerance))
    return float(
        found is not None and any(abs(found - one) <= max(allowed, share * max(abs(found), abs(one))) for one in wanted)
    )


def _wanted_number(gold: Gold, reference: str) -> Decimal:
    found = number_of(reference)
    if found is None:
        raise TunediffError(f"case {gold.case_id}: reference: found {shown(reference)}, expected a number (task.grade)")
    return found


def _json_text(text: str) -> str | None:
    try:
        json.loads(text, parse_constant=_no_constant)
        from_json(text)
    except (ValueError, RecursionError):
        return None
    return text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON, though Python accepts it")


def _json(grade: Grade, gold: Gold, answer: str) -> float:  # noqa: ARG001
    if grade.json_schema is None:
        return 1.0
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # An empty registry, so that a $ref to an address is not fetched.
    validator = validator_for(grade.json_schema)(grade.json_schema, registry=Registry())
    try:
        return float(validator.is_valid(from_json(answer)))
    except Unresolvable as error:
        raise TunediffError(
            f"task.grade: json_schema: found the $ref {shown(error.ref)}, expected one inside it"
        ) from None


def leaves(value: object, path: str = "") -> dict[str, object]:
    """Return the values of a JSON document by path; an empty list or object is a value.

    >>> leaves({"name": "Ann", "items": [{"n": 2}, {}]})
    {'name': 'Ann', 'items.0.n': 2, 'items.1': {}}
    """
    if not isinstance(value, dict | list) or not value:
        return {path: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return {
        key: leaf for name, part in parts for key, leaf in leaves(part, f"{path}.{name}" if path else str(name)).items()
    }


def _json_fields(grade: Grade, gold: Gold, answer: str) -> float:
    found = leaves(from_json(answer))
    shares = []
    for reference in gold.references:
        try:
            wanted = leaves(from_json(reference))
        except ValueError as error:
            raise TunediffError(
                f"case {gold.case_id}: reference: found {shown(reference)}, expected JSON (task.grade): {error}"
            ) from None
        names = grade.fields or list(dict.fromkeys([*wanted, *found]))
        shares.append(sum(_same(_part(wanted, name), _part(found, name)) for name in names) / len(names))
    return max(shares)


def _part(values: Mapping[str, object], name: str) -> dict[str, object]:
    """The values of a JSON document at and below a path."""
    return {key: value for key, value in values.items() if key == name or key.startswith(f"{name}.")}


def _same(first: Mapping[str, object], second: Mapping[str, object]) -> bool:
    """Whether two parts are equal; true and 1 are not."""
    return first.keys() == second.keys() and all(
        value == second[key] and isinstance(value, bool) == isinstance(second[key], bool)
        for key, value in first.items()
    )


def _text(measure: Callable[[Sequence[Sequence[str]], Sequence[str]], Any]) -> Callable[[Grade, Gold, str], float]:
    """A text metric of single cases, so that each case is split into words according to its script."""
    return lambda _, gold, answer: float(measure([gold.references], [answer])[0])


def _rouge(name: str) -> Method:
    return Method(name.replace("rouge", "ROUGE-"), _text(lambda golds, answers: rouge_cases(golds, answers)[name]))


METHODS: dict[str, Method] = {
    "exact": Method("exact match", _exact, decides=True, keys=("ignore",)),
    "contains": Method("reference contained", _contains, decides=True, keys=("ignore",)),
    "number": Method("numeric match", _number, decides=True, taken=_numeral, keys=("tolerance", "relative_tolerance")),
    "json": Method("match with the JSON schema", _json, decides=True, taken=_json_text, keys=("json_schema",)),
    "json_fields": Method("agreement of JSON fields", _json_fields, taken=_json_text, keys=("fields",)),
    "token_f1": Method("token F1", lambda _, gold, answer: token_f1(gold.references, answer)),
    "bleu": Method("BLEU of a case", _text(bleu_cases)),
    "chrf": Method("chrF", _text(chrf_cases)),
    **{name: _rouge(name) for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")},
    "meteor": Method("METEOR", _text(meteor_cases)),
}


@dataclass(frozen=True)
class Grader:
    """Applies a grade of params.yaml."""

    grade: Grade

    @property
    def name(self) -> str:
        """The name of the score in columns and keys."""
        by = self.grade.by
        if function := FUNCTION.fullmatch(by):
            by = function[2]
        return self.grade.name or re.sub(r"\W+", "_", by.removeprefix(MODULE)).strip("_")

    @property
    def method(self) -> Method:
        """The grading method."""
        by = self.grade.by
        if by in METHODS:
            return METHODS[by]
        return Method(self.name.replace("_", " "), self._by_function, keys=("scale",))

    @property
    def words(self) -> str:
        """The name of the score in sentences."""
        words = self.method.words
        if self.grade.by == "meteor":
            words = meteor_name().replace("meteor", "METEOR").replace("_", " ")
        if self.grade.by == "json" and self.grade.json_schema is None:
            words = "JSON validity"
        return f"{words} ({self.grade.name})" if self.grade.name and self.grade.by in METHODS else words

    @property
    def threshold(self) -> float:
        """The lowest score of a right answer."""
        return 1.0 if self.grade.threshold is None else self.grade.threshold

    @property
    def measure(self) -> str:
        """The name of the share of right answers, if this grade decides what is right."""
        if self.method.decides:
            return self.words
        if FUNCTION.fullmatch(self.grade.by) and self.grade.threshold is None:
            return f"share right by {self.words}"
        return f"share with {self.words} of at least {self.threshold:g}"

    @property
    def graded_alone(self) -> bool:
        """Whether the grade of a case does not depend on other cases."""
        return self.grade.pattern is None and not self.grade.by.startswith(MODULE)

    def taken(self, text: str) -> str | None:
        """Return the answer extracted from a text; None if the text is empty, does not match, or is not JSON."""
        found = self._matched(text.strip())
        return self.method.taken(found) if found else None

    def _matched(self, text: str) -> str | None:
        if self.grade.pattern is None:
            return number_in(text) if self.grade.by == "number" else text
        match = re.search(self.grade.pattern, text)
        if match is None:
            return None
        groups = [group for group in match.groups() if group is not None]
        return (groups[0] if groups else match[0]).strip()

    def golds(self, cases: Sequence[Gold]) -> list[Gold]:
        """Return the cases with references in the form that this grade reads.

        If the pattern matches all references, the answers are extracted from them; if it matches none, they are answers
        already.

        Args:
            cases: cases with the references of the data.

        Raises:
            TunediffError: the pattern matches some references only.
        """
        if self.grade.pattern is None and self.grade.by != "number":
            return list(cases)
        texts = [[self._matched(reference) for reference in case.references] for case in cases]
        fitting = [one is not None for each in texts for one in each]
        if fitting and not any(fitting) and self.grade.pattern is not None:
            return list(cases)
        if not all(fitting):
            missed = next(case for case, each in zip(cases, texts, strict=True) if None in each)
            raise TunediffError(
                f"task.grade {self.name}: found an answer in {sum(fitting):,} of {len(fitting):,} references and "
                f"none in that of case {missed.case_id}, {shown(missed.references[0])}; expected one in each, or a "
                "pattern that matches none of them"
            )
        return [
            case._replace(references=tuple(one for one in each if one is not None))
            for case, each in zip(cases, texts, strict=True)
        ]

    def score(self, gold: Gold, answer: str) -> float:
        """Return the score of an extracted answer in 0..1; 0 if there is no reference."""
        return self.scores([gold], [answer])[0]

    def scores(self, golds: Sequence[Gold], answers: Sequence[str | None]) -> list[float]:
        """Return the score of each extracted answer in 0..1; 0 for None."""
        gradable = [at for at, answer in enumerate(answers) if answer is not None and golds[at].references]
        given = [str(answers[at]) for at in gradable]
        if self.grade.by.startswith(MODULE):
            name, _, key = self.grade.by.removeprefix(MODULE).partition(":")
            values = case_scores(name, key, [golds[at].references for at in gradable], given)
            scored = [self._share(golds[at], one) for at, one in zip(gradable, values, strict=True)]
        else:
            method = self.method
            scored = [method.score(self.grade, golds[at], answer) for at, answer in zip(gradable, given, strict=True)]
        found = dict(zip(gradable, scored, strict=True))
        return [found.get(at, 0.0) for at in range(len(answers))]

    def right(self, gold: Gold, answer: str) -> bool:
        """Return whether an extracted answer is right."""
        return self.score(gold, answer) >= self.threshold

    def _by_function(self, grade: Grade, gold: Gold, answer: str) -> float:
        try:
            found = self._function(answer, list(gold.references), dict(gold.inputs))
        except Exception as error:  # the user's code
            raise TunediffError(
                f"{GRADERS}/{grade.by}: case {gold.case_id}: {type(error).__name__}: "
                f"{shown(' '.join(str(error).split()), 200)}"
            ) from None
        return float(found) if isinstance(found, bool) else self._share(gold, found)

    def _share(self, gold: Gold, value: object) -> float:
        """A score as a share of the maximum score."""
        share = value / self.grade.scale if isinstance(value, int | float) else math.nan
        if not -1e-9 <= share <= 1 + 1e-9:
            raise TunediffError(
                f"task.grade {self.name}: case {gold.case_id}: found {shown(value)}, expected a number in "
                f"0..{self.grade.scale:g} (scale gives the score of a perfect answer)"
            )
        return min(1.0, max(0.0, share))

    @property
    def file(self) -> Path | None:
        """The file of the user's function; None if the grade has none."""
        named = FUNCTION.fullmatch(self.grade.by)
        return Path(GRADERS, named[1]) if named else None

    @cached_property
    def _function(self) -> Callable[..., object]:
        file, _, name = self.grade.by.partition(":")
        path = Path(GRADERS, file)
        code = read_text(path)
        # Not imported, because Python's cache of compiled files misses changes within the same second.
        module = ModuleType(path.stem)
        module.__file__ = str(path)
        try:
            exec(compile(code, str(path), "exec"), module.__dict__)  # noqa: S102  (named in params.yaml)
        except Exception as error:  # the user's code
            raise TunediffError(f"{path}: cannot be run: {type(error).__name__}: {error}") from None
        function = getattr(module, name, None)
        if not callable(function):
            raise TunediffError(f"{path}: has no function {name}, which task.grade refers to")
        return function  # type: ignore[no-any-return]
