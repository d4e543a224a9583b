r"""The interface of all engines: text in, numbers and text out.

    engine = open_engine(settings, Path("models/base"))
    engine.loglikelihoods(["Is it raining?"], [" yes", " no"], title="base")       # [[-1.2, -0.9]], in nats
    engine.generate(["Is it raining?"], stop=["\\n"], max_new_tokens=8, title="base")

An engine is a class in a file of its own, registered in `tunediff.engines.ENGINES`. Only the local engine supports
models with a classification or span head.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.inputs.chat import Messages
from tunediff.inputs.settings import PredictSettings
from tunediff.runtime.errors import TunediffError

# The name of a test set, and raw answers to some of its cases, a row per case.
Answered = tuple[str, pd.DataFrame]


class Generated(NamedTuple):
    """An answer as text, and why generation ended: stop (an end marker or a stop text), length (the limit) or none."""

    text: str
    finish_reason: str


class OptionScore(NamedTuple):
    """The log-likelihood of an option in nats, at most 0, and its number of tokens, at least 1."""

    log_likelihood: float
    n_tokens: int


class HeadAnswer(NamedTuple):
    """The answer of a head to a case, and what it read.

    `text` is the likeliest span; for a classification head it is empty. `log_probs` are natural-log probabilities: of
    the labels, or for a span head of the question having an answer and of it having none.
    """

    text: str
    log_probs: list[float]
    prompt_hash: str
    n_tokens: int
    truncated: bool


class Answering(Protocol):
    """The part of `Engine` that a prediction stage uses, which several engines together provide as well."""

    def answered(self, windows: "Iterable[tuple[str, Sequence[Case]]]", ask: "AskWindow") -> Iterator[Answered]:
        """See `Engine`."""

    def environment(self) -> dict[str, str]:
        """See `Engine`."""

    def inspected(self) -> dict[str, Any]:
        """See `Engine`."""

    def tuned(self, folder: Path) -> "Answering":
        """See `Engine`."""


class Engine(ABC):
    """A model that answers; `context` is the maximum number of tokens that it can read."""

    context: int = sys.maxsize

    @abstractmethod
    def loglikelihoods(self, prompts: Sequence[str], continuations: Sequence[str], title: str) -> list[list[float]]:
        """Return the log-likelihood of each continuation after each prompt in nats.

        Args:
            prompts: texts that the model reads.
            continuations: texts that may follow, the same for every prompt.
            title: label of the progress bar.

        Returns:
            Log-likelihoods of shape (n_prompts, n_continuations), at most 0.
        """

    @abstractmethod
    def generate(self, prompts: Sequence[str], stop: Sequence[str], max_new_tokens: int, title: str) -> list[Generated]:
        """Generate greedily after each prompt.

        Args:
            prompts: texts that the model reads.
            stop: texts that end generation; they are not part of the answer.
            max_new_tokens: maximum number of generated tokens.
            title: label of the progress bar.
        """

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return what results depend on besides code, data and parameters: libraries, device, dtype."""

    def inspected(self) -> dict[str, Any]:
        """Return what was found in the loaded model (`tunediff.models.inspection`); empty if it cannot be inspected."""
        return {}

    @abstractmethod
    def tuned(self, folder: Path) -> "Engine":
        """Return the engine of the tuned model; this engine must not be used afterwards.

        Args:
            folder: the folder that the stage train wrote, with a manifest.
        """

    def answered(self, windows: "Iterable[tuple[str, Sequence[Case]]]", ask: "AskWindow") -> Iterator[Answered]:
        """Iterate over the answers to windows of cases, in their order.

        Args:
            windows: the name of a test set with some of its cases.
            ask: returns the raw answers of an engine to a window.
        """
        for name, cases in windows:
            yield name, ask(self, name, cases)

    def log_probs(self, prompts: Sequence[str], continuations: Sequence[str], title: str) -> list[list[float]]:
        """Return the log-probabilities of `loglikelihoods` in nats, normalized over the continuations of a prompt."""
        scores = np.array(self.loglikelihoods(prompts, continuations, title), dtype=np.float64)
        found: list[list[float]] = log_softmax(scores, axis=-1).tolist()
        return found

    def option_scores(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]], title: str
    ) -> list[list[OptionScore]]:
        """Return the scores of the options of each prompt.

        Args:
            prompts: texts that the model reads.
            options: texts that may follow each prompt, the same number for every prompt.
            title: label of the progress bar.
        """
        found = []
        for prompt, texts in zip(prompts, options, strict=True):
            n_whole = self.n_tokens([prompt + text for text in texts])
            [n_prompt] = self.n_tokens([prompt])
            scores = self.loglikelihoods([prompt], texts, title)[0]
            found.append([OptionScore(score, max(1, n - n_prompt)) for score, n in zip(scores, n_whole, strict=True)])
        return found

    def unconditional(self, texts: Sequence[str], title: str) -> list[float]:
        """Return the log-likelihood of each text without a prompt, in nats."""
        return [self.loglikelihoods([""], [text], title)[0][0] for text in texts]

    def n_tokens(self, prompts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each prompt; without a tokenizer, the number of bytes as an upper bound."""
        return [len(prompt.encode()) for prompt in prompts]

    def check(self, prompt: Prompt) -> None:  # noqa: B027  (an engine without a tokenizer has nothing to check)
        """Refuse a prompt of params.yaml that this model would not read as it is written."""

    def scores(self, prompt: Prompt) -> bool:  # noqa: ARG002
        """Whether choices can be scored after this prompt; if not, generated answers have no log-probabilities."""
        return True

    def chat(self, prompt: Prompt) -> Messages | None:
        """Return the renderer of the messages of a prompt; None if the prompt has a template.

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
        """Return this engine with another batch size; an engine without batches returns itself."""
        return self

    def label_log_probs(self, cases: Sequence[Case], prompt: Prompt, title: str) -> list[HeadAnswer]:  # noqa: ARG002
        """Return the answer of a classification head to each case."""
        raise self._no_head()

    def spans(
        self,
        cases: Sequence[Case],  # noqa: ARG002
        prompt: Prompt,  # noqa: ARG002
        max_answer_tokens: int,  # noqa: ARG002
        title: str,  # noqa: ARG002
    ) -> list[HeadAnswer]:
        """Return the answer of a span head to each case; spans have at most `max_answer_tokens` tokens."""
        raise self._no_head()

    def _no_head(self) -> TunediffError:
        name = type(self).__name__
        return TunediffError(f"params.yaml: engine.kind: found {name}, which has no head, expected local or head lm")


# Opens the engine of a base model.
Opens = Callable[[PredictSettings, Path], Engine]
# Returns the raw answers of an engine to some cases of the named test set.
AskWindow = Callable[[Engine, str, Sequence[Case]], pd.DataFrame]
