r"""What every engine can do: text in, numbers and text out.

    engine = open_engine(settings, Path("models/base"))
    engine.loglikelihoods(["Is it raining?"], [" yes", " no"], title="base")       # [[-1.2, -0.9]], in nats
    engine.generate(["Is it raining?"], stop=["\\n"], max_new_tokens=8, title="base")

An engine is a class in a file of its own that `tunediff.engines.ENGINES` names. Heads answer without a text: only the
local engine has them.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.inputs.chat import Messages
from tunediff.inputs.settings import PredictSettings
from tunediff.runtime.errors import TunediffError

# Raw answers to some cases of a test set, a row per case, with its name.
Answered = tuple[str, pd.DataFrame]


class Written(NamedTuple):
    """A text generated freely, and why it ended: stop (an end marker or a stop text came) or length (the limit)."""

    text: str
    finish_reason: str


class OptionScore(NamedTuple):
    """The natural-log likelihood of an option, at most 0, and how many tokens it has, at least 1."""

    log_likelihood: float
    n_tokens: int


class HeadAnswer(NamedTuple):
    """What a head answers to a case, and what it read of it.

    `text` is the likeliest span (of a classification head: empty); `log_probs` are natural logarithms that belong to
    the labels or, of a span head, to there being an answer and to there being none.
    """

    text: str
    log_probs: list[float]
    prompt_hash: str
    n_tokens: int
    truncated: bool


class Answering(Protocol):
    """What a stage that predicts needs of an engine, or of several that share the cases; see `Engine`."""

    def answered(self, windows: "Iterable[tuple[str, Sequence[Case]]]", ask: "AskWindow") -> Iterator[Answered]:
        """The answers to windows of cases."""

    def environment(self) -> dict[str, str]:
        """What the figures depend on besides code, data and parameters."""

    def inspected(self) -> dict[str, Any]:
        """What was found in the model."""

    def tuned(self, folder: Path) -> "Answering":
        """Who answers with the tuned model."""


class Engine(ABC):
    """A model that answers; `context` is the number of tokens that it reads at most."""

    context: int = sys.maxsize

    @abstractmethod
    def loglikelihoods(self, prompts: Sequence[str], continuations: Sequence[str], title: str) -> list[list[float]]:
        """The natural-log likelihood of each continuation after each prompt, of shape (n_prompts, n_continuations).

        Args:
            prompts: what the model reads.
            continuations: what may follow, the same for every prompt.
            title: what the progress bar says.
        """

    @abstractmethod
    def generate(self, prompts: Sequence[str], stop: Sequence[str], max_new_tokens: int, title: str) -> list[Written]:
        """The text that the model writes after each prompt, the likeliest token at each place.

        Args:
            prompts: what the model reads.
            stop: texts that end what is written, and are left out of it.
            max_new_tokens: tokens of the longest answer.
            title: what the progress bar says.
        """

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What the figures depend on besides code, data and parameters: libraries, device, dtype."""

    def inspected(self) -> dict[str, Any]:
        """What was found in the model that answers (`tunediff.models.inspection`); empty where nobody can look."""
        return {}

    @abstractmethod
    def tuned(self, folder: Path) -> "Engine":
        """The engine that answers with the tuned model of a folder; this one must not be asked any more.

        Args:
            folder: as the stage train writes it, with a manifest.
        """

    def answered(self, windows: "Iterable[tuple[str, Sequence[Case]]]", ask: "AskWindow") -> Iterator[Answered]:
        """The answers to windows of cases, one by one, in their order.

        Args:
            windows: some cases, after the name of their test set.
            ask: gives the raw answers of an engine to a window.
        """
        for name, cases in windows:
            yield name, ask(self, name, cases)

    def log_probs(self, prompts: Sequence[str], continuations: Sequence[str], title: str) -> list[list[float]]:
        """The natural-log probability of each continuation if one of them follows; arguments as `loglikelihoods`."""
        scores = np.array(self.loglikelihoods(prompts, continuations, title), dtype=np.float64)
        scores -= scores.max(-1, keepdims=True)
        found: list[list[float]] = (scores - np.log(np.exp(scores).sum(-1, keepdims=True))).tolist()
        return found

    def option_scores(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]], title: str
    ) -> list[list[OptionScore]]:
        """How likely each of a prompt's own options is behind it.

        Args:
            prompts: what the model reads.
            options: of each prompt the texts that may follow it, as many for every prompt.
            title: what the progress bar says.
        """
        found = []
        for prompt, texts in zip(prompts, options, strict=True):
            whole = self.n_tokens([prompt + text for text in texts])
            [known] = self.n_tokens([prompt])
            scores = self.loglikelihoods([prompt], texts, title)[0]
            found.append([OptionScore(one, max(1, n - known)) for one, n in zip(scores, whole, strict=True)])
        return found

    def unconditional(self, texts: Sequence[str], title: str) -> list[float]:
        """The natural-log likelihood of each text without a prompt."""
        return [self.loglikelihoods([""], [text], title)[0][0] for text in texts]

    def n_tokens(self, prompts: Sequence[str]) -> list[int]:
        """The tokens of each prompt; an engine without a tokenizer counts bytes, of which there are not fewer."""
        return [len(prompt.encode()) for prompt in prompts]

    def check(self, prompt: Prompt) -> None:  # noqa: B027  (an engine without a tokenizer has nothing to check)
        """Refuse a prompt of params.yaml that this model does not read as it is written."""

    def scores(self, prompt: Prompt) -> bool:  # noqa: ARG002
        """Whether choices can be scored behind this prompt; where not, what is written freely has no probabilities."""
        return True

    def chat(self, prompt: Prompt) -> Messages | None:
        """How the messages of a prompt are written; None where it has a template of its own.

        Raises:
            TunediffError: there is no chat template for the messages.
        """
        if prompt.messages is None:
            return None
        raise TunediffError(
            f"params.yaml: prompt.messages: given, but engine.kind {type(self).__name__} has no chat template; "
            "expected prompt.template"
        )

    def batched(self, batch_tokens: int) -> "Engine":  # noqa: ARG002
        """The same engine with batches of another size; itself where it has no batches."""
        return self

    def label_log_probs(self, cases: Sequence[Case], prompt: Prompt, title: str) -> list[HeadAnswer]:  # noqa: ARG002
        """What a classification head answers to each case."""
        raise self._no_head()

    def spans(
        self,
        cases: Sequence[Case],  # noqa: ARG002
        prompt: Prompt,  # noqa: ARG002
        max_answer_tokens: int,  # noqa: ARG002
        title: str,  # noqa: ARG002
    ) -> list[HeadAnswer]:
        """What a span head answers to each case; a longer span is no candidate."""
        raise self._no_head()

    def _no_head(self) -> TunediffError:
        name = type(self).__name__
        return TunediffError(f"params.yaml: engine.kind: found {name}, which has no head, expected local or head lm")


# Opens the engine of a base model.
Opens = Callable[[PredictSettings, Path], Engine]
# Gives the raw answers of an engine to some cases of the test set of that name.
AskWindow = Callable[[Engine, str, Sequence[Case]], pd.DataFrame]
