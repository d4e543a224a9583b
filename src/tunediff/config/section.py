"""What every section of params.yaml is made of: kinds of values, unknown keys refused, contradictions told together."""

from collections.abc import Iterator
from typing import Annotated, Literal, LiteralString, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):  # which pydantic would take for 0 or 1
        raise PydanticCustomError("expected", "number")
    return value


def _expected(what: LiteralString) -> WrapValidator:
    """What a union expects, in one phrase: pydantic would tell of each of its types by itself."""

    def check(value: object, validate: ValidatorFunctionWrapHandler) -> object:
        if not isinstance(value, bool):
            try:
                return validate(value)
            except ValidationError:
                pass
        raise PydanticCustomError("expected", what)

    return WrapValidator(check)


Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_truth_value)]
# NumPy and transformers take no other seeds.
Seed = Annotated[Whole, Field(ge=0, le=2**32 - 1)]
Word = Annotated[str, Field(min_length=1)]
SourceValue = Annotated[str | int, _expected("text in quotes or whole number")]
LoraTargets = Annotated[
    Annotated[list[Word], Field(min_length=1)] | Literal["all-linear"],
    _expected("list of names of linear layers, or all-linear"),
]
# A commit of a repository on the hub.
COMMIT = r"^[0-9a-f]{40}$"
# A label may be written as a bare word that YAML reads as a number.
LabelName = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) and not isinstance(v, bool) else v)]


class Section(BaseModel):
    """One section of params.yaml: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        if lines := list(self._contradictions()):
            raise ValueError("\n".join(lines))
        return self

    def _contradictions(self) -> Iterator[str]:
        """A line for each contradiction between keys that are valid by themselves."""
        yield from ()
