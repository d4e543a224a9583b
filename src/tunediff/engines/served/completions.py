"""Requests to OpenAI's completions and chat interfaces, and the tokens and log-probabilities of their responses.

    completions = Completions(client, "base")
    completions.write("The capital of France is", max_tokens=2, log_probs=1)   # Completion(" Paris.", "length", [...])
    completions.echo([504, 3575, 282])                                         # the log-probability of each token

A prompt is a text or token ids. Servers identify tokens by id, as llama.cpp and vLLM do, or by their text.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from tunediff.engines.served.client import Client, RefusedError
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

Prompt = str | list[int]
Key = int | str
# Prefix of a token in vLLM's responses with return_tokens_as_token_ids.
BY_ID = "token_id:"
# The finish reason by the name that a server uses.
REASONS = {"stop": "stop", "eos_token": "stop", "stop_sequence": "stop", "length": "length"}
# Tolerance of the logarithm of a probability of 1, and of a sum of probabilities.
ROUNDING = 1e-3


class Token(NamedTuple):
    """A token of a response.

    `key` is its id, or its text if the server returns no ids. `log_prob` is in nats, and None for the first token of a
    prompt. `top` has the log-probabilities of the likeliest tokens at its position.
    """

    key: Key
    text: str
    log_prob: float | None
    top: Mapping[Key, float]


class Completion(NamedTuple):
    """A generated text, why it ended (stop or length), and its tokens if they were requested."""

    text: str
    finish_reason: str
    tokens: list[Token]


class Completions:
    """A model on a server."""

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
        """Generate greedily after a prompt.

        Args:
            prompt: text or token ids.
            max_tokens: maximum number of generated tokens.
            stop: texts that end generation.
            log_probs: number of likeliest tokens to return per position; None: no tokens are returned.
            bias: numbers to add to the logits of tokens, by id.

        Raises:
            TunediffError: the request fails, or the response is invalid.
        """
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": max_tokens, "stop": list(stop) or None}
        if log_probs is not None:
            body |= {"logprobs": log_probs, "return_tokens_as_token_ids": True}
        if bias is not None:
            body["logit_bias"] = {str(token): value for token, value in bias.items()}
        choice = self._choice("/completions", body)
        return Completion(*self._text(choice, choice.get("text"), stop), self._tokens(choice))

    def echo(self, prompt: Prompt) -> list[Token]:
        """Return the tokens of a prompt and one generated token; only the latter if the server ignores echo.

        Raises:
            TunediffError: as `write`.
        """
        body = {"prompt": prompt, "echo": True, "max_tokens": 1, "logprobs": 1, "return_tokens_as_token_ids": True}
        return self._tokens(self._choice("/completions", body))

    def answer(
        self, messages: Sequence[Mapping[str, str]], values: Mapping[str, Any], max_tokens: int, stop: Sequence[str]
    ) -> Completion:
        """Generate the answer to a conversation, rendered by the server's chat template.

        Args:
            messages: roles and contents.
            values: variables of the chat template.
            max_tokens: maximum number of generated tokens.
            stop: texts that end generation.

        Raises:
            TunediffError: as `write`.
        """
        body: dict[str, Any] = {"messages": messages, "max_tokens": max_tokens, "stop": list(stop) or None}
        choice = self._choice("/chat/completions", body | ({"chat_template_kwargs": dict(values)} if values else {}))
        message = choice.get("message")
        return Completion(*self._text(choice, message.get("content") if isinstance(message, dict) else None, stop), [])

    def token_ids(self, text: str, special: bool) -> list[int] | None:
        """Return the token ids of a text; None if the server does not tokenize for clients.

        Args:
            text: any text.
            special: whether to include tokens that the server puts before every text, such as BOS. Special tokens that
                the text spells are read as text in either case, if the server supports it (llama.cpp).
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
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            return None
        return tokens

    def spelled(self, token: int) -> str:
        """Return the text of a token, or its id if the server does not detokenize for clients."""
        try:
            found = self.client.post("//detokenize", {"tokens": [token], "model": self.model})
        except TunediffError:
            return str(token)
        texts = [found.get(name) for name in ("content", "prompt")] if isinstance(found, dict) else []
        return next((text for text in texts if isinstance(text, str)), str(token))

    def refuse(self, line: str) -> NoReturn:
        """Raise a TunediffError about this model's responses."""
        raise TunediffError(f"{self.place}: {line}")

    def _choice(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        known = {key: value for key, value in body.items() if value is not None}
        found = self.client.post(path, {"model": self.model, "temperature": 0, **known})
        choices = found.get("choices") if isinstance(found, dict) else None
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            self.refuse(f"found the response {shown(found)}, expected one answer in choices")
        return dict(choices[0])

    def _text(self, choice: Mapping[str, Any], text: Any, stop: Sequence[str]) -> tuple[str, str]:
        reason = choice.get("finish_reason")
        if not isinstance(text, str) or reason not in REASONS:
            self.refuse(
                f"found the text {shown(text)} and finish_reason {shown(reason)} in an answer, expected a text and one "
                f"of {', '.join(REASONS)}"
            )
        ends = [text.index(end) for end in stop if end in text]
        return (text[: min(ends)], "stop") if ends else (text, REASONS[reason])

    def _tokens(self, choice: Mapping[str, Any]) -> list[Token]:
        found = choice.get("logprobs")
        if found is None:
            return []
        try:
            if "content" in found:
                return [self._listed(token) for token in found["content"] or ()]
            tops = found.get("top_logprobs") or [None] * len(found["tokens"])
            return [
                Token(_key(text), text, self._log_prob(value), self._top((top or {}).items()))
                for text, value, top in zip(found["tokens"], found["token_logprobs"], tops, strict=True)
            ]
        except (TypeError, KeyError, ValueError, AttributeError):
            self.refuse(f"found {shown(found)} as logprobs, expected tokens and their log-probabilities")

    def _listed(self, token: Mapping[str, Any]) -> Token:
        """A token in the form of chat completions, which llama.cpp uses for all completions."""
        top = self._top(
            (_key(likely["token"], likely.get("id")), likely["logprob"]) for likely in token["top_logprobs"]
        )
        return Token(_key(token["token"], token.get("id")), token["token"], self._log_prob(token["logprob"]), top)

    def _top(self, pairs: Any) -> dict[Key, float]:
        found: dict[Key, float] = {}
        for key, value in pairs:
            number = self._log_prob(value)
            # Two tokens may have the same text.
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
