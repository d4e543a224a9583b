"""The base class of every section of params.yaml, and the types of its values."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, LiteralString, Self, get_args

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


def _refuse_bool(value: object) -> object:
    if isinstance(value, bool):  # pydantic would convert it to 0 or 1
        raise PydanticCustomError("expected", "number")
    return value


def _expected(phrase: LiteralString) -> WrapValidator:
    """A validator that describes a union in one phrase; pydantic would report an error for each member."""

    def check(value: object, validate: ValidatorFunctionWrapHandler) -> object:
        if not isinstance(value, bool):
            try:
                return validate(value)
            except ValidationError:
                pass
        raise PydanticCustomError("expected", phrase)

    return WrapValidator(check)


Whole = Annotated[int, BeforeValidator(_refuse_bool)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_refuse_bool)]
# The range that NumPy and transformers accept.
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


def section_in(annotation: Any) -> "type[Section] | None":
    """Return the section in the type of a key, such as Adapt in `Adapt | None`; None if there is none."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


class Section(BaseModel):
    """One section of params.yaml; unknown keys are refused, and values are immutable after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        if lines := list(self._contradictions()):
            raise ValueError("\n".join(lines))
        return self

    def _contradictions(self) -> Iterator[str]:
        """Yield a line for each contradiction between keys that are valid by themselves."""
        yield from ()
