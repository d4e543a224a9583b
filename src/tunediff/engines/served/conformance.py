"""Whether a server's answers can be believed: asked before the first case is, and refused in one line where not.

    found = conform(completions, scored=True, n=8, room=2048)
    found.way.words                # "by echo: the server returns the log-probability of every prompt token"
    check_differ(completions, base=..., tuned=found)

What a server takes and ignores it does not say: echo, a model's name, an adapter, a number of likeliest tokens. So
every figure is had in two ways that a server which does what it says must answer alike.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from tunediff.engines.alone import apart
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

# A text, and what may follow it in two parts; one is unlikely.
PROBES = (
    ("The capital of France is", " Paris", " and not London."),
    ("A man is feeding two dogs in the park. Are there animals? Answer:", " no", ", there are none."),
    ("1, 2, 3, 4,", " zebra", " of zinc"),
    ("Der Hund schläft im Garten. In English:", " The dog", " sleeps."),
)
WRITTEN = 6  # tokens that are written behind each
# Nats by which a token's log-probability may differ between two ways to ask: what 16 bits round.
TOLERANCE = 0.3
# Nats by which that of one place and one request may differ.
SAME = 0.01
# Of two askings at temperature 0 more texts than this share must be the same.
SAME_TEXTS = 0.5


class Conformance(NamedTuple):
    """What a server's answers are like.

    `way`: how choices are scored; None where they are not. `repeat`, `aligned`, `cut`: nats that a token's
    log-probability is off by at most, when it is asked for again, when it is read and was written, and when its
    continuation is cut; None where there are none. `likelihoods`: of the same texts for every model; `texts`: what it
    writes behind them.
    """

    way: Way | None
    repeat: float | None
    aligned: float | None
    cut: float | None
    likelihoods: list[float]
    texts: list[str]


class Model(NamedTuple):
    """A model as the server lists it: its name, the tokens that it reads, and who serves it; None: it does not say."""

    name: str
    context: int | None
    owner: str | None


def find_model(client: Client, name: str | None) -> Model:
    """The model of this name, or the only one.

    Raises:
        TunediffError: the server cannot be reached, or has no such model. Many would answer with another one.
    """
    try:
        found = client.get("/models", tries=2)
    except RefusedError as error:
        if error.status != 404 or name is None:
            raise
        return Model(name, None, None)
    listed = found.get("data") if isinstance(found, dict) else None
    models = {}
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            aliases = one.get("aliases")
            for known in (one["id"], *(aliases if isinstance(aliases, list) else ())):
                models[known] = one
    names = list(dict.fromkeys(one["id"] for one in models.values()))
    if name is None and len(names) == 1:
        [name] = names
    if name is None or name not in models:
        what = "several models and no name" if name is None else f"no model {name}"
        raise TunediffError(f"{client.url}: found {what}, expected one of {', '.join(names) or 'those it lists'}")
    about = models[name]
    meta = about.get("meta")
    context = about.get("max_model_len", meta.get("n_ctx") if isinstance(meta, dict) else None)
    owner = about.get("owned_by")
    return Model(name, context if isinstance(context, int) else None, owner if isinstance(owner, str) else None)


def conform(completions: Completions, scored: bool, needed: bool, n: int, room: int) -> Conformance:
    """Hold a server's completions against each other.

    Args:
        completions: the model.
        scored: whether choices are to be scored.
        needed: whether nothing can be done without; else a server that cannot score is asked for texts alone.
        n: requests at a time.
        room: tokens that the model reads.

    Raises:
        TunediffError: what is wrong with the answers.
    """
    way: Way | None = None
    if scored:
        try:
            way = find_way(completions)
        except TunediffError:
            if needed:
                raise
    alone, again = _twice(lambda one: completions.write(one[0], WRITTEN, log_probs=None if way is None else 1), n)
    repeat = _check_repeats(completions, alone, again)
    texts = [one.text for one in alone]
    if way is None:
        return Conformance(None, None, None, None, [], texts)
    _check_greedy(completions, alone)
    aligned = _check_aligned(completions, way, alone, room)
    score = partial(_continuations, way, room=room)
    first, second = _twice(score, n)
    for one, other in zip(first, second, strict=True):
        if len(one.whole) != len(other.whole):
            completions.refuse(
                "found a different number of tokens when the same text was sent again, expected the same number"
            )
        repeat = max(repeat or 0.0, apart(one.whole, other.whole))
    if repeat is not None and repeat > TOLERANCE:
        completions.refuse(
            f"repeating a request changes the log-probabilities by {repeat:.2g} nats, expected at most {TOLERANCE:g}"
        )
    cut = _check_cut(completions, first)
    likelihoods = [value for one in first for value in one.whole]
    if max(map(abs, likelihoods)) == 0:
        completions.refuse("found the log-probability 0 for every token, expected those of the model")
    return Conformance(way, repeat, aligned, cut, likelihoods, texts)


def conform_chat(completions: Completions, values: Mapping[str, Any], n: int) -> tuple[Conformance, Mapping[str, Any]]:
    """Whether a chat model answers, and the same again; and what the server lets its chat template read.

    Args:
        completions: the model.
        values: what chat templates may read besides the messages; where the server refuses to take them, none.
        n: requests at a time.

    Raises:
        TunediffError: what is wrong with the answers.
    """

    def ask(one: Sequence[str], values: Mapping[str, Any]) -> Completion:
        return completions.answer([{"role": "user", "content": one[0]}], values, WRITTEN, ())

    try:
        ask(PROBES[0], values)
    except RefusedError as error:
        if error.status not in (400, 422):
            raise
        values = {}
    alone, again = _twice(lambda one: ask(one, values), n)
    _check_repeats(completions, alone, again)
    return Conformance(None, None, None, None, [], [one.text for one in alone]), values


def check_differ(completions: Completions, base: Conformance, tuned: Conformance) -> str | None:
    """Refuse a tuned model that answers as the base does: an adapter that a server takes and drops.

    Returns:
        What is unusual, where log-probabilities are not known: all texts are the same.

    Raises:
        TunediffError: no log-probability differs by more than when one model is asked twice.
    """
    if base.likelihoods and len(base.likelihoods) == len(tuned.likelihoods):
        off, noise = apart(base.likelihoods, tuned.likelihoods), max(base.repeat or 0.0, tuned.repeat or 0.0)
        if off <= noise:
            completions.refuse(
                f"answers as the base does: {len(base.likelihoods)} log-probabilities are off by {off:.2g} nats, and "
                f"{noise:.2g} when the same is asked twice; expected another model, or an adapter that is applied"
            )
    elif not base.likelihoods and base.texts == tuned.texts:
        return f"{completions.place}: generates the same as the base after {len(PROBES)} texts: is it the tuned model?"
    return None


def find_way(completions: Completions) -> Way:
    """How this server tells log-probabilities of what it is given.

    Raises:
        TunediffError: in no way, and why.
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
    """Log-probabilities of the tokens of a continuation: at once, of its first part, of its second behind that."""

    whole: list[float]
    first: list[float]
    second: list[float]


def _continuations(way: Way, probe: Sequence[str], room: int) -> _Scored:
    prompt, first, second = probe
    asked = [(prompt, first + second), (prompt, first), (prompt + first, second)]
    return _Scored(*(way.token_scores(text, [behind], room)[0] for text, behind in asked))


def _twice(ask: Any, n: int) -> tuple[list[Any], list[Any]]:
    """What is answered to each probe alone, and to all at once."""
    alone = [ask(probe) for probe in PROBES]
    with ThreadPoolExecutor(n) as pool:
        return alone, list(pool.map(ask, PROBES))


def _check_repeats(completions: Completions, alone: Sequence[Completion], again: Sequence[Completion]) -> float | None:
    """How far the log-probabilities are apart, as long as the same is written; None where there are none."""
    other = [(one.text, two.text) for one, two in zip(alone, again, strict=True) if one.text != two.text]
    if len(other) > SAME_TEXTS * len(alone):
        first, second = other[0]
        completions.refuse(
            f"generates different texts for the same request at temperature 0, such as {shown(first, 40)} and "
            f"{shown(second, 40)}; expected the same"
        )
    furthest: float | None = None
    for one, two in zip(alone, again, strict=True):
        for first_token, second_token in zip(one.tokens, two.tokens, strict=False):
            if first_token.key != second_token.key:
                break
            furthest = max(furthest or 0.0, abs((first_token.log_prob or 0.0) - (second_token.log_prob or 0.0)))
    return furthest


def _check_greedy(completions: Completions, written: Sequence[Completion]) -> None:
    if not any(one.tokens for one in written):
        completions.refuse("returns no log-probabilities of generated tokens (logprobs: 1), expected them")
    for one in written:
        for token in one.tokens:
            best = max(token.top.values(), default=token.log_prob)
            if token.log_prob is None or best is None or best > token.log_prob + TOLERANCE:
                completions.refuse(
                    f"generates a token with log-probability {token.log_prob} at temperature 0 where another has "
                    f"{best}; expected the likeliest one, without penalties (of vLLM: --generation-config vllm)"
                )


def _check_aligned(completions: Completions, way: Way, written: Sequence[Completion], room: int) -> float:
    """How far what a token had when it was written is from what it has when it is read."""
    furthest, compared = 0.0, 0
    for (prompt, *_), one in zip(PROBES, written, strict=True):
        if not one.text:
            continue
        read = way.token_scores(prompt, [one.text], room)[0]
        # An end marker that was written is in no text.
        ended = one.finish_reason == "stop" and len(read) == len(one.tokens) - 1
        if ended or len(read) == len(one.tokens):
            compared += 1
            furthest = max(furthest, apart(read, [token.log_prob or 0.0 for token in one.tokens[: len(read)]]))
    if not compared:
        completions.refuse(
            "tokenizes its own generated texts differently, so its log-probabilities cannot be compared; expected "
            "at least one text with the same tokens"
        )
    if not furthest <= TOLERANCE:
        completions.refuse(
            f"returns log-probabilities of a generated token that differ by {furthest:.2g} nats between generating "
            f"and reading it ({way.name}), expected at most {TOLERANCE:g}: they belong to another position or model"
        )
    return furthest


def _check_cut(completions: Completions, scored: Sequence[_Scored]) -> float:
    """How far the log-probabilities of a continuation are from those of its two parts."""
    pairs = [(one.whole, one.first + one.second) for one in scored]
    equal = [pair for pair in pairs if len(pair[0]) == len(pair[1])]
    if not equal:
        completions.refuse(
            "tokenizes every text differently when it is split at a space, expected at least one text with "
            "the same tokens"
        )
    furthest = max(apart(*pair) for pair in equal)
    if not furthest <= TOLERANCE:
        completions.refuse(
            f"returns log-probabilities of a continuation that differ by {furthest:.2g} nats from those of its two "
            f"parts, expected at most {TOLERANCE:g}"
        )
    return furthest
