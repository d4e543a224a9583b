"""How a free answer is graded: what is taken out of it, what it is held against, and from which score it is right."""

from typing import Any, Literal

from pydantic import Field

from tunediff.config.section import Number, Section, Word

# The folder of the user's own grading functions; the stage `settings` watches it.
GRADERS = "graders"


class Grade(Section):
    """A way to grade an answer; the name of one alone stands for `{by: NAME}`."""

    by: Word = Field(
        description="exact, contains, number, json, json_fields, token_f1, bleu, chrf, rouge1, rouge2, rougeL, "
        "rougeLsum, meteor; evaluate:NAME or evaluate:NAME:KEY, a module of `evaluate`; FILE.py:FUNCTION, one's own "
        "in the folder graders"
    )
    name: str | None = Field(
        default=None, pattern=r"^[a-zA-Z0-9_]+$", description="what its score is called; none: after `by`"
    )
    threshold: Number | None = Field(
        default=None, gt=0, le=1, description="of the first grade: the score from which on an answer is right"
    )
    pattern: Word | None = Field(
        default=None,
        description="regular expression that takes the answer out of the text: its first group, else all that it "
        "matches, where it first matches",
    )
    ignore: list[Literal["case", "punctuation", "articles", "accents", "space"]] = Field(
        default=[],
        description="exact, contains: differences that do not count; space: runs of white space are one blank",
    )
    tolerance: Number = Field(default=0.0, ge=0, description="number: how far an answer may be off")
    relative_tolerance: Number = Field(default=0.0, ge=0, description="number: the same, as a share of the larger one")
    json_schema: dict[str, Any] | None = Field(default=None, description="json: the JSON Schema that it must fulfil")
    fields: list[Word] = Field(
        default=[],
        description="json_fields: those that are compared, such as address.city; none: all of answer and reference",
    )
    lenient: bool = Field(
        default=False,
        description="of a grade beside the first: it sees through the answer format, so an answer that has 1 by it and "
        "is not right by the first one lacks the format alone",
    )
    scale: Number = Field(default=1.0, gt=0, description="evaluate, FILE.py: the score of a perfect answer")
