"""Check before the first case that the answers of a server are consistent.

    found = conform(completions, scored=True, n=8, room=2048)
    found.way.words                # "by echo: the server returns the log-probability of every prompt token"
    check_differ(completions, base=..., tuned=found)

Servers silently ignore what they do not support: echo, a model's name, an adapter, a number of likeliest tokens. So
every figure is obtained in two ways that must agree.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from tunediff.engines.alone import max_difference
from tunediff.engines.served.client import Client, RefusedError
from tunediff.engines.served.completions import Completion, Completions, Prompt
from tunediff.engines.served.ways import (
    TOPS,
    EchoOfText,
    EchoOfTokens,
    ServedTokens,
    StepByStep,
    Way,
    likeliest,
    written_by_bias,
)
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

# Prompts, each with a continuation in two parts; one of them is unlikely.
PROBES = (
    ("The capital of France is", " Paris", " and not London."),
    ("A man is feeding two dogs in the park. Are there animals? Answer:", " no", ", there are none."),
    ("1, 2, 3, 4,", " zebra", " of zinc"),
    ("Der Hund schläft im Garten. In English:", " The dog", " sleeps."),
)
WRITTEN = 6  # tokens to generate after each
# Tolerance in nats of a token's log-probability between two ways to obtain it, for rounding in 16 bits.
TOLERANCE = 0.3
# The same, within one position and one kind of request.
SAME = 0.01
# Maximum share of texts that may differ when requests are repeated at temperature 0.
DIFFERENT_TEXTS = 0.5


class Conformance(NamedTuple):
    """The result of the check.

    `way` is how choices are scored; None if they are not. `repeat`, `aligned` and `cut` are the largest differences of
    a token's log-probability in nats: between repeated requests, between generating and reading it, and between a whole
    continuation and its parts; None if there are no log-probabilities. `likelihoods` and `texts` are the
    log-probabilities of `PROBES` and the texts that the model generates after them.
    """

    way: Way | None
    repeat: float | None
    aligned: float | None
    cut: float | None
    likelihoods: list[float]
    texts: list[str]


class Model(NamedTuple):
    """A model as the server lists it: name, context length in tokens and owner; None if they are not listed."""

    name: str
    context: int | None
    owner: str | None


def find_model(client: Client, name: str | None) -> Model:
    """Return the model with this name, or the only one if no name is given.

    Many servers answer with another model if the name is unknown.

    Raises:
        TunediffError: the server cannot be reached, has no such model, or has several models and no name is given.
    """
    try:
        found = client.get("/models", tries=2)
    except RefusedError as error:
        if error.status != 404 or name is None:
            raise
        return Model(name, None, None)
    listed = found.get("data") if isinstance(found, dict) else None
    models = {}
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            aliases = entry.get("aliases")
            for known in (entry["id"], *(aliases if isinstance(aliases, list) else ())):
                models[known] = entry
    names = list(dict.fromkeys(entry["id"] for entry in models.values()))
    if name is None and len(names) == 1:
        [name] = names
    if name is None or name not in models:
        found = "several models and no name" if name is None else f"no model {name}"
        raise TunediffError(f"{client.url}: found {found}, expected one of {', '.join(names) or 'those it lists'}")
    about = models[name]
    meta = about.get("meta")
    context = about.get("max_model_len", meta.get("n_ctx") if isinstance(meta, dict) else None)
    owner = about.get("owned_by")
    return Model(name, context if isinstance(context, int) else None, owner if isinstance(owner, str) else None)


def conform(completions: Completions, scored: bool, needed: bool, n: int, room: int) -> Conformance:
    """Check that the completions of a server are consistent.

    Args:
        completions: the model.
        scored: whether choices are to be scored.
        needed: whether scores are required; if not, a server that cannot score only generates.
        n: number of concurrent requests.
        room: context length of the model in tokens.

    Raises:
        TunediffError: the answers are inconsistent, or scores are required and not available.
    """
    way: Way | None = None
    if scored:
        try:
            way = find_way(completions)
        except TunediffError:
            if needed:
                raise
    alone, again = _answer_probes(
        lambda probe: completions.write(probe[0], WRITTEN, log_probs=None if way is None else 1), n
    )
    repeat = _check_repeats(completions, alone, again)
    texts = [answer.text for answer in alone]
    if way is None:
        return Conformance(None, None, None, None, [], texts)
    _check_greedy(completions, alone)
    aligned = _check_aligned(completions, way, alone, room)
    score = partial(_continuations, way, room=room)
    first, second = _answer_probes(score, n)
    for scores, repeated in zip(first, second, strict=True):
        if len(scores.whole) != len(repeated.whole):
            completions.refuse(
                "found a different number of tokens when the same text was sent again, expected the same number"
            )
        repeat = max(repeat or 0.0, max_difference(scores.whole, repeated.whole))
    if repeat is not None and repeat > TOLERANCE:
        completions.refuse(
            f"repeating a request changes the log-probabilities by {repeat:.2g} nats, expected at most {TOLERANCE:g}"
        )
    cut = _check_cut(completions, first)
    likelihoods = [value for scores in first for value in scores.whole]
    if max(map(abs, likelihoods)) == 0:
        completions.refuse("found the log-probability 0 for every token, expected those of the model")
    return Conformance(way, repeat, aligned, cut, likelihoods, texts)


def conform_chat(completions: Completions, values: Mapping[str, Any], n: int) -> tuple[Conformance, Mapping[str, Any]]:
    """Check that the answers of a chat model are repeatable.

    Args:
        completions: the model.
        values: variables of the chat template.
        n: number of concurrent requests.

    Returns:
        The result of the check, and the variables; empty if the server does not accept them.

    Raises:
        TunediffError: the answers are inconsistent.
    """

    def ask(probe: Sequence[str], values: Mapping[str, Any]) -> Completion:
        return completions.answer([{"role": "user", "content": probe[0]}], values, WRITTEN, ())

    try:
        ask(PROBES[0], values)
    except RefusedError as error:
        if error.status not in (400, 422):
            raise
        values = {}
    alone, again = _answer_probes(lambda probe: ask(probe, values), n)
    _check_repeats(completions, alone, again)
    return Conformance(None, None, None, None, [], [answer.text for answer in alone]), values


def check_differ(completions: Completions, base: Conformance, tuned: Conformance) -> str | None:
    """Refuse a tuned model that answers like the base, as if the server had ignored an adapter.

    Returns:
        A warning if there are no log-probabilities and all texts are equal; else None.

    Raises:
        TunediffError: no log-probability differs by more than between repeated requests to one model.
    """
    if base.likelihoods and len(base.likelihoods) == len(tuned.likelihoods):
        difference = max_difference(base.likelihoods, tuned.likelihoods)
        noise = max(base.repeat or 0.0, tuned.repeat or 0.0)
        if difference <= noise:
            completions.refuse(
                f"answers like the base: {len(base.likelihoods)} log-probabilities differ by at most {difference:.2g} "
                f"nats, and by {noise:.2g} when a request is repeated; expected another model, or an applied adapter"
            )
    elif not base.likelihoods and base.texts == tuned.texts:
        return f"{completions.place}: generates the same as the base after {len(PROBES)} texts: is it the tuned model?"
    return None


def find_way(completions: Completions) -> Way:
    """Find the way to obtain the log-probabilities of a given text from this server.

    Raises:
        TunediffError: there is none.
    """
    text = PROBES[0][0]
    if completions.token_ids(text, special=True) is None:
        if len(_echoed(completions, text)) > 1:
            return EchoOfText(completions)
        completions.refuse(
            "ignores echo and has no /tokenize to score a choice step by step: choices cannot be scored; expected a "
            "server that supports one of them, or evaluate.scoring_method: generation"
        )
    tokens = ServedTokens(completions)
    ids = tokens.start + tokens.ids(text)
    if len(_echoed(completions, ids)) > 1:
        return EchoOfTokens(completions, tokens)
    known = likeliest(completions, ids, TOPS[0])
    if len(known) < 2:
        completions.refuse(
            "ignores echo and returns no ids of the likeliest tokens to score a choice step by step: choices cannot "
            "be scored; expected a server that supports one of them, or evaluate.scoring_method: generation"
        )
    second = sorted(known, key=lambda token: -known[token])[1]
    forced = written_by_bias(completions, ids, second)
    return StepByStep(completions, tokens, forced is not None and abs(forced - known[second]) <= SAME)


def _echoed(completions: Completions, prompt: Prompt) -> list[Any]:
    try:
        return list(completions.echo(prompt))
    except RefusedError as error:
        if error.status not in (400, 404, 422, 501):
            raise
        return []


class _Scored(NamedTuple):
    """Log-probabilities of the tokens of a continuation: of the whole, of its first part, and of its second part."""

    whole: list[float]
    first: list[float]
    second: list[float]


def _continuations(way: Way, probe: Sequence[str], room: int) -> _Scored:
    prompt, first, second = probe
    splits = [(prompt, first + second), (prompt, first), (prompt + first, second)]
    return _Scored(*(way.token_scores(text, [continuation], room)[0] for text, continuation in splits))


def _answer_probes(ask: Any, n: int) -> tuple[list[Any], list[Any]]:
    """The answers to the probes one after another, and again concurrently."""
    alone = [ask(probe) for probe in PROBES]
    with ThreadPoolExecutor(n) as pool:
        return alone, list(pool.map(ask, PROBES))


def _check_repeats(completions: Completions, alone: Sequence[Completion], again: Sequence[Completion]) -> float | None:
    """The largest difference of log-probabilities while the texts agree; None if there are none."""
    pairs = list(zip(alone, again, strict=True))
    different = [(first.text, second.text) for first, second in pairs if first.text != second.text]
    if len(different) > DIFFERENT_TEXTS * len(alone):
        first, second = different[0]
        completions.refuse(
            f"generates different texts for the same request at temperature 0, such as {shown(first, 40)} and "
            f"{shown(second, 40)}; expected the same"
        )
    largest: float | None = None
    for answer, repeated in pairs:
        for first_token, second_token in zip(answer.tokens, repeated.tokens, strict=False):
            if first_token.key != second_token.key:
                break
            largest = max(largest or 0.0, abs((first_token.log_prob or 0.0) - (second_token.log_prob or 0.0)))
    return largest


def _check_greedy(completions: Completions, answers: Sequence[Completion]) -> None:
    if not any(answer.tokens for answer in answers):
        completions.refuse("returns no log-probabilities of generated tokens (logprobs: 1), expected them")
    for answer in answers:
        for token in answer.tokens:
            best = max(token.top.values(), default=token.log_prob)
            if token.log_prob is None or best is None or best > token.log_prob + TOLERANCE:
                completions.refuse(
                    f"generates a token with log-probability {token.log_prob} at temperature 0 where another has "
                    f"{best}; expected the likeliest one, without penalties (vLLM: --generation-config vllm)"
                )


def _check_aligned(completions: Completions, way: Way, answers: Sequence[Completion], room: int) -> float:
    """The largest difference between a token's log-probabilities when it is generated and when it is read."""
    largest, compared = 0.0, 0
    for (prompt, *_), answer in zip(PROBES, answers, strict=True):
        if not answer.text:
            continue
        read = way.token_scores(prompt, [answer.text], room)[0]
        # The text does not contain a generated end marker.
        ended = answer.finish_reason == "stop" and len(read) == len(answer.tokens) - 1
        if ended or len(read) == len(answer.tokens):
            compared += 1
            generated = [token.log_prob or 0.0 for token in answer.tokens[: len(read)]]
            largest = max(largest, max_difference(read, generated))
    if not compared:
        completions.refuse(
            "tokenizes its own generated texts differently, so its log-probabilities cannot be compared; expected "
            "at least one text with the same tokens"
        )
    if not largest <= TOLERANCE:
        completions.refuse(
            f"returns log-probabilities of a generated token that differ by {largest:.2g} nats between generating "
            f"and reading it ({way.name}), expected at most {TOLERANCE:g}: they belong to another position or model"
        )
    return largest


def _check_cut(completions: Completions, scored: Sequence[_Scored]) -> float:
    """The largest difference between the log-probabilities of a continuation and those of its two parts."""
    pairs = [(scores.whole, scores.first + scores.second) for scores in scored]
    equal = [pair for pair in pairs if len(pair[0]) == len(pair[1])]
    if not equal:
        completions.refuse(
            "tokenizes every text differently when it is split at a space, expected at least one text with "
            "the same tokens"
        )
    largest = max(max_difference(*pair) for pair in equal)
    if not largest <= TOLERANCE:
        completions.refuse(
            f"returns log-probabilities of a continuation that differ by {largest:.2g} nats from those of its two "
            f"parts, expected at most {TOLERANCE:g}"
        )
    return largest
