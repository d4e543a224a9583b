"""Further test sets: what else fine-tuning changed."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tunediff.config.data import Origin, leads_out
from tunediff.config.prompt import Prompt
from tunediff.config.section import Section, Whole
from tunediff.config.task import TaskSection


def _set_name(name: str) -> str:
    if name in ("train", "validation", "test") or not re.fullmatch(r"[a-z0-9_-]+", name):
        raise PydanticCustomError("expected", "a name of a-z, 0-9, _ and - other than train, validation and test")
    return name


SetName = Annotated[str, AfterValidator(_set_name)]


class AlsoData(Origin):
    """Where the rows of a further test set come from."""

    path: str = Field(default=".", description="folder of the files, inside data.path")

    def _contradictions(self) -> Iterator[str]:
        yield from super()._contradictions()
        if leads_out(self.path):
            yield f"data.path: found '{self.path}', expected a folder inside data.path of params.yaml"


class AlsoSet(Section):
    """A further test set, evaluated once: no further evaluation settings and no noise estimate."""

    task: TaskSection | None = Field(default=None, description="the kind of its cases; none: the section task")
    data: AlsoData = Field(description="where its rows come from and which are drawn")
    prompt: Prompt | None = Field(default=None, description="how its cases are rendered; none: the section prompt")
    scoring_method: Literal["choices", "generation"] | None = Field(
        default=None,
        description="labels: choices, or freely generated text, which shows the effect of the answer format; "
        "none: evaluate.scoring_method",
    )
    max_new_tokens: Whole | None = Field(
        default=None, ge=1, description="maximum tokens of a generated answer; none: evaluate.max_new_tokens"
    )
