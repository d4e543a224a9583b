"""What OpenAI's interface for completions is asked, and what its answers say: of tokens and their log-probabilities.

    completions = Completions(client, "base")
    completions.write("The capital of France is", max_tokens=2, log_probs=1)   # Completion(" Paris.", "length", [...])
    completions.echo([504, 3575, 282])                                         # the log-probability of each token

A prompt is a text or token ids. Tokens are told in two ways: by id, as llama.cpp and vLLM do, or by their text.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from tunediff.engines.served.client import Client, RefusedError
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

Prompt = str | list[int]
Key = int | str
# What vLLM writes of a token in place of its text, where it is asked to.
BY_ID = "token_id:"
# Why an answer ended, as servers call it.
REASONS = {"stop": "stop", "eos_token": "stop", "stop_sequence": "stop", "length": "length"}
# What rounding may add to the logarithm of a probability of 1, and to a sum of probabilities.
ROUNDING = 1e-3


class Token(NamedTuple):
    """A token of an answer: its id, or its text where no id is told; its log-probability in nats, None of the first.

    `top`: the likeliest tokens at its place and their log-probabilities.
    """

    key: Key
    text: str
    log_prob: float | None
    top: Mapping[Key, float]


class Completion(NamedTuple):
    """A text that was written, why it ended (stop or length), and its tokens where these were asked for."""

    text: str
    finish_reason: str
    tokens: list[Token]


class Completions:
    """A model of a server, by its name there."""

    def __init__(self, client: Client, model: str) -> None:
        self.client, self.model = client, model
        self.place = f"{client.url}, model {model}"

    def write(
        self,
        prompt: Prompt,
        max_tokens: int,
        stop: Sequence[str] = (),
        log_probs: int | None = None,
        bias: Mapping[int, float] | None = None,
    ) -> Completion:
        """What the model writes, the likeliest token at each place.

        Args:
            prompt: what it reads.
            max_tokens: tokens of the longest answer.
            stop: texts that end it.
            log_probs: how many of the likeliest tokens are told at each place; None: no token is.
            bias: what is added to the logits of tokens before one is chosen.

        Raises:
            TunediffError: the server fails, or its answer is none.
        """
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": max_tokens, "stop": list(stop) or None}
        if log_probs is not None:
            body |= {"logprobs": log_probs, "return_tokens_as_token_ids": True}
        if bias is not None:
            body["logit_bias"] = {str(token): value for token, value in bias.items()}
        choice = self._choice("/completions", body)
        return Completion(*self._text(choice, choice.get("text"), stop), self._tokens(choice))

    def echo(self, prompt: Prompt) -> list[Token]:
        """The tokens of a prompt, and one that is written behind them; of a server that ignores echo, that one.

        Raises:
            TunediffError: as `write`.
        """
        body = {"prompt": prompt, "echo": True, "max_tokens": 1, "logprobs": 1, "return_tokens_as_token_ids": True}
        return self._tokens(self._choice("/completions", body))

    def answer(
        self, messages: Sequence[Mapping[str, str]], values: Mapping[str, Any], max_tokens: int, stop: Sequence[str]
    ) -> Completion:
        """What the model answers to a conversation, which the server's chat template writes.

        Args:
            messages: roles and contents.
            values: what the chat template reads besides.
            max_tokens: tokens of the longest answer.
            stop: texts that end it.

        Raises:
            TunediffError: as `write`.
        """
        body: dict[str, Any] = {"messages": messages, "max_tokens": max_tokens, "stop": list(stop) or None}
        choice = self._choice("/chat/completions", body | ({"chat_template_kwargs": dict(values)} if values else {}))
        message = choice.get("message")
        return Completion(*self._text(choice, message.get("content") if isinstance(message, dict) else None, stop), [])

    def token_ids(self, text: str, special: bool) -> list[int] | None:
        """The tokens of a text; None where the server does not tell them.

        Args:
            text: any text.
            special: with what stands before every text, such as BOS. A special token that the text spells is text in
                either case, where the server knows the difference (llama.cpp).
        """
        # llama.cpp reads content, add_special and parse_special; vLLM prompt, model and add_special_tokens.
        body = {"content": text, "prompt": text, "model": self.model, "add_special": special}
        body |= {"add_special_tokens": special, "parse_special": False}
        try:
            found = self.client.post("//tokenize", body)
        except RefusedError as error:
            if error.status in (400, 404, 405, 422, 501):
                return None
            raise
        tokens = found.get("tokens") if isinstance(found, dict) else None
        if not isinstance(tokens, list) or not all(isinstance(one, int) for one in tokens):
            return None
        return tokens

    def spelled(self, token: int) -> str:
        """How a token is spelled; its number where the server does not say."""
        try:
            found = self.client.post("//detokenize", {"tokens": [token], "model": self.model})
        except TunediffError:
            return str(token)
        texts = [found.get(name) for name in ("content", "prompt")] if isinstance(found, dict) else []
        return next((text for text in texts if isinstance(text, str)), str(token))

    def refuse(self, line: str) -> NoReturn:
        """End with what is wrong with this model's answers."""
        raise TunediffError(f"{self.place}: {line}")

    def _choice(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        known = {key: value for key, value in body.items() if value is not None}
        found = self.client.post(path, {"model": self.model, "temperature": 0, **known})
        choices = found.get("choices") if isinstance(found, dict) else None
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            self.refuse(f"found {shown(found)} in place of an answer, expected one in choices")
        return dict(choices[0])

    def _text(self, choice: Mapping[str, Any], text: Any, stop: Sequence[str]) -> tuple[str, str]:
        reason = choice.get("finish_reason")
        if not isinstance(text, str) or reason not in REASONS:
            self.refuse(
                f"found the text {shown(text)} and finish_reason {shown(reason)} in an answer, expected a text and one "
                f"of {', '.join(REASONS)}"
            )
        ends = [text.index(one) for one in stop if one in text]
        return (text[: min(ends)], "stop") if ends else (text, REASONS[reason])

    def _tokens(self, choice: Mapping[str, Any]) -> list[Token]:
        found = choice.get("logprobs")
        if found is None:
            return []
        try:
            if "content" in found:
                return [self._listed(one) for one in found["content"] or ()]
            tops = found.get("top_logprobs") or [None] * len(found["tokens"])
            return [
                Token(_key(text), text, self._log_prob(value), self._top((top or {}).items()))
                for text, value, top in zip(found["tokens"], found["token_logprobs"], tops, strict=True)
            ]
        except (TypeError, KeyError, ValueError, AttributeError):
            self.refuse(f"found {shown(found)} as logprobs, expected tokens and their log-probabilities")

    def _listed(self, one: Mapping[str, Any]) -> Token:
        """A token in the form that chat completions have, and llama.cpp for all."""
        top = self._top((_key(other["token"], other.get("id")), other["logprob"]) for other in one["top_logprobs"])
        return Token(_key(one["token"], one.get("id")), one["token"], self._log_prob(one["logprob"]), top)

    def _top(self, pairs: Any) -> dict[Key, float]:
        found: dict[Key, float] = {}
        for key, value in pairs:
            number = self._log_prob(value)
            # Two tokens may be spelled alike; together they are as likely as that text.
            found[_key(key) if isinstance(key, str) else key] = -math.inf if number is None else number
        if sum(map(math.exp, found.values())) > 1 + ROUNDING * max(1, len(found) / 1000):
            self.refuse("found likeliest tokens whose probabilities add up to more than 1, expected natural logarithms")
        return found

    def _log_prob(self, value: Any) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.refuse(f"found the log-probability {shown(value)}, expected a number that is at most 0")
        if value > ROUNDING:
            self.refuse(f"found the log-probability {value:g}, expected at most 0: the logarithm of a probability")
        return float(value)


def _key(text: str, id: Any = None) -> Key:
    if isinstance(id, int):
        return id
    number = text.removeprefix(BY_ID)
    return int(number) if number != text and number.isdigit() else text
