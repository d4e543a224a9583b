"""The ways to have a choice's log-probabilities from a server; which one a server honours, it does not say by itself.

    way = EchoOfTokens(completions, tokens)
    way.token_scores("The capital of France is", [" Paris", " the moon"], room=512)    # [[-0.26], [-2.76, -5.1]]

By echo a server writes the prompt back, with the log-probability of each of its tokens. Step by step it is asked for
one token behind the prompt and what there is of the choice already, and the wanted token is one of the likeliest that
it tells. Where it tells ids of tokens, the prompt is ids too, so that nothing is tokenised twice; where not, texts are
distinguished by the texts of their tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from tunediff.engines.served.client import RefusedError
from tunediff.engines.served.completions import Completions, Token
from tunediff.inputs.joins import Joined, join
from tunediff.runtime.errors import TunediffError

# How many of the likeliest tokens are asked for; where the wanted one is not among them, the next number of them.
TOPS = (64, 1024, 16_384, 262_144)
# What is added to the logit of a token that is to be written; no server takes more.
BIAS = 100


class Ids(NamedTuple):
    """Tokens of a text or of several."""

    input_ids: list[int] | list[list[int]]


class ServedTokens:
    """What a server's /tokenize tells, in the place of a tokenizer (`tunediff.inputs.tokens.Tokenises`)."""

    def __init__(self, completions: Completions) -> None:
        """Raises TunediffError where the server has several tokens before a text."""
        self.completions = completions
        plain, special = (completions.token_ids("a", special) or [] for special in (False, True))
        n = len(special) - len(plain)
        starts = [at for at in range(max(n, 0) + 1) if special[at : at + len(plain)] == plain]
        start = special[: starts[0]] if starts else []
        if len(start) > 1:
            completions.refuse(f"found {len(start)} tokens before a text, expected one (BOS) or none")
        self.start, self.bos_token_id = start, start[0] if start else None

    def __call__(self, text: str | list[str], /, **_: object) -> Ids:
        """The tokens of each text alone, or what stands before every text."""
        if isinstance(text, str):
            return Ids(self.start)
        return Ids([self.ids(one) for one in text])

    def ids(self, text: str) -> list[int]:
        """The tokens of a text alone.

        Raises:
            TunediffError: the server does not tell them any more.
        """
        if not text:
            return []
        found = self.completions.token_ids(text, special=False)
        if found is None:
            self.completions.refuse("found no tokens in an answer of /tokenize, expected a list of ids")
        return found

    def convert_ids_to_tokens(self, ids: Sequence[int], /) -> list[str]:
        """How tokens are spelled."""
        return [self.completions.spelled(one) for one in ids]


class Way(ABC):
    """One way; `name` is told in the files of a run, `words` in its sentences."""

    name: str
    words: str

    def __init__(self, completions: Completions) -> None:
        self.completions = completions

    @abstractmethod
    def token_scores(self, prompt: str, continuations: Sequence[str], room: int) -> list[list[float]]:
        """The log-probability of each token of each continuation, in nats.

        From the last token on that the prompt has in common with all of them (`tunediff.inputs.joins`).

        Args:
            prompt: what the model reads.
            continuations: what may follow.
            room: tokens that it reads at most.

        Raises:
            TunediffError: the server fails, or does not tell what is asked.
        """


class _OfTokens(Way):
    def __init__(self, completions: Completions, tokens: ServedTokens) -> None:
        super().__init__(completions)
        self.tokens = tokens

    def token_scores(self, prompt: str, continuations: Sequence[str], room: int) -> list[list[float]]:
        [joined] = join(self.tokens, [prompt], [continuations], room)
        return self._scores(joined)

    @abstractmethod
    def _scores(self, joined: Joined) -> list[list[float]]: ...


class EchoOfTokens(_OfTokens):
    """By echo, prompts as ids."""

    name, words = "echo", "by echo: the server returns the log-probability of every prompt token"

    def _scores(self, joined: Joined) -> list[list[float]]:
        return [self._answer(joined.prompt, answer) for answer in joined.answers]

    def _answer(self, prompt: list[int], answer: list[int]) -> list[float]:
        whole = prompt + answer
        echoed = self.completions.echo(whole)
        if len(echoed) not in (len(whole), len(whole) + 1):
            self.completions.refuse(f"found {len(echoed):,} tokens in the echo of {len(whole):,}, expected as many")
        for token, id in zip(echoed, whole, strict=False):
            if isinstance(token.key, int) and token.key != id:
                self.completions.refuse(f"found token {token.key} in the echo of token {id}, expected the same")
        return _log_probs(self.completions, echoed[len(prompt) : len(whole)])


class EchoOfText(Way):
    """By echo, prompts as text: of a server that does not tokenise for others."""

    name, words = "echo of text", "by echo of texts: the server returns the log-probability of every prompt token"

    def token_scores(self, prompt: str, continuations: Sequence[str], room: int) -> list[list[float]]:
        """See `Way`."""
        echoed = _Echoed(self.completions)
        [joined] = join(echoed, [prompt], [continuations], room)
        rows = [echoed.read[*joined.prompt, *answer][len(joined.prompt) :] for answer in joined.answers]
        return [_log_probs(self.completions, row) for row in rows]


class _Echoed:
    """Tokens by their texts, numbered as they come; what was read is kept with its log-probabilities.

    What stands before every text (BOS) is in the echo like any other token.
    """

    bos_token_id = None

    def __init__(self, completions: Completions) -> None:
        self.completions = completions
        self.numbers: dict[str, int] = {}
        self.read: dict[tuple[int, ...], list[Token]] = {}

    def __call__(self, text: str | list[str], /, **_: object) -> Ids:
        return Ids([] if isinstance(text, str) else [self._ids(one) for one in text])

    def convert_ids_to_tokens(self, ids: Sequence[int], /) -> list[str]:
        texts = list(self.numbers)
        return [texts[one] for one in ids]

    def _ids(self, text: str) -> list[int]:
        echoed = self.completions.echo(text)[:-1]
        if not echoed:
            self.completions.refuse("found no token of the prompt in the answer to echo: true, expected all of them")
        ids = [self.numbers.setdefault(token.text, len(self.numbers)) for token in echoed]
        self.read[tuple(ids)] = echoed
        return ids


class StepByStep(_OfTokens):
    """A token at a time, the wanted one among the likeliest: of a server that takes echo and ignores it.

    A token that is not among them is made to be written by a bias, where the server tells its log-probability without
    that (`takes_bias`); else more of the likeliest are asked for.
    """

    name, words = "step by step", "step by step: the server returns the likeliest tokens at each position of a choice"

    def __init__(self, completions: Completions, tokens: ServedTokens, takes_bias: bool) -> None:
        super().__init__(completions, tokens)
        self.takes_bias = takes_bias
        self._enough: dict[frozenset[int], int] = {}  # which of TOPS was enough for these tokens

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
        """The log-probabilities of some tokens behind a prompt."""
        start = self._enough.get(wanted, 0)
        for number, n in enumerate(TOPS[start:], start):
            found = likeliest(self.completions, prompt, n)
            told = len(found)
            for token in wanted - found.keys() if self.takes_bias else ():
                forced = written_by_bias(self.completions, prompt, token)
                found |= {} if forced is None else {token: forced}
            if wanted <= found.keys():
                self._enough[wanted] = number
                return {token: found[token] for token in wanted}
            if told < n:
                break
        missing = self.completions.spelled(min(wanted - found.keys()))
        raise TunediffError(
            f"{self.completions.place}: returns {told:,} of the {n:,} likeliest tokens requested, and {missing!r} is "
            "not among them: it has no log-probability; expected a server that returns all of them, or one that "
            "supports echo"
        )


def likeliest(completions: Completions, prompt: list[int], n: int) -> dict[int, float]:
    """The ids of the likeliest tokens behind a prompt and their log-probabilities, at most `n` of them.

    Raises:
        TunediffError: the server tells of no such place, or of several.
    """
    told = completions.write(prompt, 1, log_probs=n).tokens
    if len(told) != 1:
        completions.refuse(f"tells of {len(told)} tokens in an answer of one, expected one")
    return {key: value for key, value in told[0].top.items() if isinstance(key, int)}


def written_by_bias(completions: Completions, prompt: list[int], token: int) -> float | None:
    """What the server tells of a token that a bias makes it write; None where it does not write that one."""
    try:
        told = completions.write(prompt, 1, log_probs=1, bias={token: BIAS}).tokens
    except RefusedError:
        return None
    return told[0].log_prob if len(told) == 1 and told[0].key == token else None


def _log_probs(completions: Completions, tokens: Sequence[Token]) -> list[float]:
    found = [token.log_prob for token in tokens if token.log_prob is not None]
    if len(found) < len(tokens):
        completions.refuse("found a token of a choice without log-probability in an echo, expected one for each")
    return found
