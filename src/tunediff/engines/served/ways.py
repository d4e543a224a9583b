"""Ways to obtain the log-probabilities of a choice from a server.

    way = EchoOfTokens(completions, tokens)
    way.token_scores("The capital of France is", [" Paris", " the moon"], room=512)    # [[-0.26], [-2.76, -5.1]]

With echo, a server returns the prompt with the log-probability of each of its tokens. Step by step, it generates one
token after the prompt and the first tokens of the choice, and the next token of the choice is looked up among the
likeliest tokens. If a server returns token ids, prompts are sent as ids, so that nothing is tokenized twice; otherwise
tokens are identified by their texts.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from tunediff.engines.served.client import RefusedError
from tunediff.engines.served.completions import Completions, Token
from tunediff.inputs.joins import Joined, join
from tunediff.runtime.errors import TunediffError

# Numbers of likeliest tokens to request, in turn, until the wanted token is among them.
TOPS = (64, 1024, 16_384, 262_144)
# Added to the logit of a token to force it; the maximum that servers accept.
BIAS = 100


class Ids(NamedTuple):
    """Token ids of one text or of several, as tokenizers return them."""

    input_ids: list[int] | list[list[int]]


class ServedTokens:
    """A server's /tokenize as a tokenizer (`tunediff.inputs.tokens.TokenizerLike`).

    Raises:
        TunediffError: the server puts several tokens before a text.
    """

    def __init__(self, completions: Completions) -> None:
        self.completions = completions
        plain, special = (completions.token_ids("a", special) or [] for special in (False, True))
        n = len(special) - len(plain)
        starts = [at for at in range(max(n, 0) + 1) if special[at : at + len(plain)] == plain]
        start = special[: starts[0]] if starts else []
        if len(start) > 1:
            completions.refuse(f"found {len(start)} tokens before a text, expected one (BOS) or none")
        self.start, self.bos_token_id = start, start[0] if start else None

    def __call__(self, text: str | list[str], /, **_: object) -> Ids:
        """Return the ids of each text in a list, without BOS; for a single text, only the ids before every text."""
        if isinstance(text, str):
            return Ids(self.start)
        return Ids([self.ids(part) for part in text])

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text, without BOS.

        Raises:
            TunediffError: the server does not return them.
        """
        if not text:
            return []
        found = self.completions.token_ids(text, special=False)
        if found is None:
            self.completions.refuse("found no tokens in an answer of /tokenize, expected a list of ids")
        return found

    def convert_ids_to_tokens(self, ids: Sequence[int], /) -> list[str]:
        """Return the texts of tokens."""
        return [self.completions.spelled(id) for id in ids]


class Way(ABC):
    """A way to obtain log-probabilities; `name` is written to the files of a run, `words` describes it."""

    name: str
    words: str

    def __init__(self, completions: Completions) -> None:
        self.completions = completions

    @abstractmethod
    def token_scores(self, prompt: str, continuations: Sequence[str], room: int) -> list[list[float]]:
        """Return the log-probability of each token of each continuation, in nats.

        A continuation starts after the tokens that the prompt alone shares with the prompt and each continuation
        (`tunediff.inputs.joins`).

        Args:
            prompt: text that the model reads.
            continuations: texts that may follow.
            room: context length of the model in tokens.

        Raises:
            TunediffError: a request fails, or the response is invalid.
        """


class _TokenWay(Way):
    def __init__(self, completions: Completions, tokens: ServedTokens) -> None:
        super().__init__(completions)
        self.tokens = tokens

    def token_scores(self, prompt: str, continuations: Sequence[str], room: int) -> list[list[float]]:
        [joined] = join(self.tokens, [prompt], [continuations], room)
        return self._scores(joined)

    @abstractmethod
    def _scores(self, joined: Joined) -> list[list[float]]: ...


class EchoOfTokens(_TokenWay):
    """Echo, with prompts as token ids."""

    name, words = "echo", "by echo: the server returns the log-probability of every prompt token"

    def _scores(self, joined: Joined) -> list[list[float]]:
        return [self._answer(joined.prompt, answer) for answer in joined.answers]

    def _answer(self, prompt: list[int], answer: list[int]) -> list[float]:
        whole = prompt + answer
        echoed = self.completions.echo(whole)
        if len(echoed) not in (len(whole), len(whole) + 1):
            self.completions.refuse(f"found {len(echoed):,} tokens in the echo of {len(whole):,} tokens, expected all")
        for token, id in zip(echoed, whole, strict=False):
            if isinstance(token.key, int) and token.key != id:
                self.completions.refuse(f"found token {token.key} in the echo of token {id}, expected the same")
        return _log_probs(self.completions, echoed[len(prompt) : len(whole)])


class EchoOfText(Way):
    """Echo, with prompts as text, for a server that does not tokenize for clients."""

    name, words = "echo of text", "by echo of texts: the server returns the log-probability of every prompt token"

    def token_scores(self, prompt: str, continuations: Sequence[str], room: int) -> list[list[float]]:
        """See `Way`."""
        echoed = _Echoed(self.completions)
        [joined] = join(echoed, [prompt], [continuations], room)
        rows = [echoed.read[*joined.prompt, *answer][len(joined.prompt) :] for answer in joined.answers]
        return [_log_probs(self.completions, row) for row in rows]


class _Echoed:
    """A tokenizer made of echoes: tokens are numbered by their texts, and their log-probabilities are kept.

    A BOS is part of the echo like any other token.
    """

    bos_token_id = None

    def __init__(self, completions: Completions) -> None:
        self.completions = completions
        self.numbers: dict[str, int] = {}
        self.read: dict[tuple[int, ...], list[Token]] = {}

    def __call__(self, text: str | list[str], /, **_: object) -> Ids:
        return Ids([] if isinstance(text, str) else [self._ids(part) for part in text])

    def convert_ids_to_tokens(self, ids: Sequence[int], /) -> list[str]:
        texts = list(self.numbers)
        return [texts[id] for id in ids]

    def _ids(self, text: str) -> list[int]:
        echoed = self.completions.echo(text)[:-1]
        if not echoed:
            self.completions.refuse("found no token of the prompt in the answer to echo: true, expected all of them")
        ids = [self.numbers.setdefault(token.text, len(self.numbers)) for token in echoed]
        self.read[tuple(ids)] = echoed
        return ids


class StepByStep(_TokenWay):
    """One request per token of a choice, for a server that ignores echo.

    A token that is not among the likeliest is forced by a logit bias, if the server returns log-probabilities without
    the bias (`takes_bias`); else more of the likeliest tokens are requested.
    """

    name, words = "step by step", "step by step: the server returns the likeliest tokens at each position of a choice"

    def __init__(self, completions: Completions, tokens: ServedTokens, takes_bias: bool) -> None:
        super().__init__(completions, tokens)
        self.takes_bias = takes_bias
        self._enough: dict[frozenset[int], int] = {}  # index of the number in TOPS that was enough for these tokens

    def _scores(self, joined: Joined) -> list[list[float]]:
        wanted: dict[tuple[int, ...], set[int]] = {}
        for answer in joined.answers:
            for place, token in enumerate(answer):
                wanted.setdefault(tuple(answer[:place]), set()).add(token)
        found = {before: self._next([*joined.prompt, *before], frozenset(tokens)) for before, tokens in wanted.items()}
        return [
            [found[tuple(answer[:place])][token] for place, token in enumerate(answer)] for answer in joined.answers
        ]

    def _next(self, prompt: list[int], wanted: frozenset[int]) -> dict[int, float]:
        """The log-probabilities of the wanted tokens after a prompt."""
        start = self._enough.get(wanted, 0)
        for number, n in enumerate(TOPS[start:], start):
            found = likeliest(self.completions, prompt, n)
            n_returned = len(found)
            for token in wanted - found.keys() if self.takes_bias else ():
                forced = written_by_bias(self.completions, prompt, token)
                found |= {} if forced is None else {token: forced}
            if wanted <= found.keys():
                self._enough[wanted] = number
                return {token: found[token] for token in wanted}
            if n_returned < n:
                break
        missing = self.completions.spelled(min(wanted - found.keys()))
        raise TunediffError(
            f"{self.completions.place}: returns {n_returned:,} of the {n:,} likeliest tokens requested, and "
            f"{missing!r} is not among them: it has no log-probability; expected a server that returns all of them, "
            "or one that supports echo"
        )


def likeliest(completions: Completions, prompt: list[int], n: int) -> dict[int, float]:
    """Return the ids and log-probabilities of the likeliest tokens after a prompt, at most `n`.

    Raises:
        TunediffError: the server returns no token, or several.
    """
    tokens = completions.write(prompt, 1, log_probs=n).tokens
    if len(tokens) != 1:
        completions.refuse(f"returns {len(tokens)} tokens for an answer of one token, expected one")
    return {key: value for key, value in tokens[0].top.items() if isinstance(key, int)}


def written_by_bias(completions: Completions, prompt: list[int], token: int) -> float | None:
    """Return the log-probability of a token that is forced by a logit bias; None if the server generates another."""
    try:
        tokens = completions.write(prompt, 1, log_probs=1, bias={token: BIAS}).tokens
    except RefusedError:
        return None
    return tokens[0].log_prob if len(tokens) == 1 and tokens[0].key == token else None


def _log_probs(completions: Completions, tokens: Sequence[Token]) -> list[float]:
    found = [token.log_prob for token in tokens if token.log_prob is not None]
    if len(found) < len(tokens):
        completions.refuse("found a token of a choice without log-probability in an echo, expected one for each")
    return found
