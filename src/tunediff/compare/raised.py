"""Raised checks, and the results of a run that checks read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tunediff.config.checks import CHECKS

Figures = Mapping[str, float]


class Raised(NamedTuple):
    """A failed check: its code, its name, a sentence with the numbers, and the reason if it is acknowledged."""

    code: str
    name: str
    sentence: str
    acknowledged: str | None = None


class Models(NamedTuple):
    """Names of the two models and of the change between them, for sentences."""

    base: str = "base model"
    tuned: str = "tuned model"
    change: str = "fine-tuning"


@dataclass(frozen=True)
class Run:
    """Results of other stages that the checks need; empty if only two prediction files are compared."""

    models: Models = field(default_factory=Models)
    prepare: Figures = field(default_factory=dict)
    base_model: Figures = field(default_factory=dict)
    evaluations: Mapping[str, Figures] = field(default_factory=dict)  # by model: base, tuned
    train_log: Sequence[Mapping[str, float | None]] = ()  # one row per epoch
    acknowledge: Mapping[str, str] = field(default_factory=dict)  # reason by code


def raise_check(code: str, sentence: str, name: str | None = None) -> Raised:
    """Return a raised check, by default with the name of its code."""
    return Raised(code, name or CHECKS[code].name, sentence)


def count_of(n: int, noun: str) -> str:
    """Format a count with its noun: `1 case`, `1,200 cases`."""
    return f"{n:,} {noun}{'s' * (n != 1)}"
