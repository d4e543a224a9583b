"""How a free-text answer is graded: what is extracted, what it is compared with, and which score counts as right."""

from typing import Any, Literal

from pydantic import Field

from tunediff.config.section import Number, Section, Word

# The folder of the user's own grading functions; the stage `settings` watches it.
GRADERS = "graders"


class Grade(Section):
    """A way to grade an answer; a bare NAME is short for `{by: NAME}`."""

    by: Word = Field(
        description="exact, contains, number, json, json_fields, token_f1, bleu, chrf, rouge1, rouge2, rougeL, "
        "rougeLsum, meteor; evaluate:NAME or evaluate:NAME:KEY, a module of `evaluate`; FILE.py:FUNCTION, "
        "your own function, in the folder graders"
    )
    name: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9_]+$", description="name of its score; none: as `by`")
    threshold: Number | None = Field(
        default=None, gt=0, le=1, description="first grade: the minimum score of a right answer"
    )
    pattern: Word | None = Field(
        default=None,
        description="regular expression that extracts the answer from the text: the first group of its first match, "
        "or the whole match",
    )
    ignore: list[Literal["case", "punctuation", "articles", "accents", "space"]] = Field(
        default=[],
        description="exact, contains: differences to ignore; space: a run of whitespace equals one space",
    )
    tolerance: Number = Field(default=0.0, ge=0, description="number: absolute tolerance")
    relative_tolerance: Number = Field(
        default=0.0, ge=0, description="number: relative tolerance, as a share of the larger number"
    )
    json_schema: dict[str, Any] | None = Field(
        default=None, description="json: the JSON Schema that the answer must satisfy"
    )
    fields: list[Word] = Field(
        default=[],
        description="json_fields: the fields to compare, such as address.city; none: all fields of answer and "
        "reference",
    )
    lenient: bool = Field(
        default=False,
        description="further grades: this one ignores the answer format, so an answer that scores 1 by it but is not "
        "right by the first grade fails only in its format",
    )
    scale: Number = Field(default=1.0, gt=0, description="evaluate, FILE.py: the score of a perfect answer")
