r"""The boundary between a prompt and its answers in tokens.

    joined = join(tokenizer, ["Is it raining?\nAnswer: "], [["yes", "no"]], 512)
    joined[0].prompt                         # the tokens of "Is it raining?\nAnswer:", after a BOS
    joined[0].answers                        # those of " yes" and " no", as in the whole text

Models are trained on whole texts. For "Answer: yes" many tokenizers produce a token " yes", which occurs neither in
"Answer: " nor in "yes"; others put a space before every text. So prompt and answer are tokenized together, and the
tokens of an answer are those after the tokens of the prompt. If a token spans the boundary, the boundary moves back to
the last token that the prompt alone shares with the prompt and each of its answers.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tunediff.inputs.tokens import CHAT, MARK, TokenizerLike, beginnings, common_length, encode_prompts, tokenize
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

# Typical first characters of an answer, to find out whether the spaces at the end of a prompt merge with them.
BEGINNINGS = ("a", "A", "1", "(")
BLANKS = (" ", "\t")


class Joined(NamedTuple):
    """The tokens of a prompt, including a BOS if the tokenizer adds one, and those of each of its answers.

    `moved` is the number of tokens of the prompt alone that are not in `prompt`, because they merge with an answer.
    """

    prompt: list[int]
    answers: list[list[int]]
    moved: int


def join(
    tokenizer: TokenizerLike,
    prompts: Sequence[str],
    answers: Sequence[Sequence[str]],
    room: int,
    tokens: Sequence[list[int]] | None = None,
    none_begins: bool = True,
) -> list[Joined]:
    """Tokenize each prompt together with the answers that may follow it.

    Args:
        tokenizer: the model's tokenizer.
        prompts: a text per case.
        answers: texts that may follow each prompt, at least one.
        room: maximum number of tokens of a prompt and an answer.
        tokens: tokens of each prompt alone, including a BOS, if they are known.
        none_begins: whether to refuse an answer that is a prefix of another answer to its prompt.

    Raises:
        TunediffError: an answer has no token, or is a prefix of another one and would always be at least as likely; no
            token is left before an answer; or prompt and answer are too long.
    """
    alone = tokens or encode_prompts(tokenizer, prompts)
    whole = iter(tokenize(tokenizer, [p + text for p, texts in zip(prompts, answers, strict=True) for text in texts]))
    joined = []
    for prompt, start, texts, ids in zip(prompts, beginnings(tokenizer, prompts), answers, alone, strict=True):
        rows = [start + next(whole) for _ in texts]
        end = min(common_length(ids, row) for row in rows)
        joined.append(Joined(ids[:end], [row[end:] for row in rows], len(ids) - end))
        _check(prompt, texts, joined[-1], room, none_begins)
    return joined


def stems(
    tokenizer: TokenizerLike, prompts: Sequence[str], tokens: Sequence[list[int]] | None = None
) -> list[tuple[list[int], str]]:
    """Return the tokens of each prompt to generate after, and the spaces at its end that the model has to generate.

    If " yes" is a token, models never see "Answer: " followed by a word without a space. So a space that would merge
    with the next word is left to the model; it is not part of the answer.

    Args:
        tokenizer: the model's tokenizer.
        prompts: a text per case.
        tokens: as in `join`.
    """
    starts = beginnings(tokenizer, prompts)
    alone = tokens or encode_prompts(tokenizer, prompts)
    found = [(ids, "") for ids in alone]
    ends = [i for i, prompt in enumerate(prompts) if prompt.endswith(BLANKS)]
    whole = iter(tokenize(tokenizer, [prompts[i] + text for i in ends for text in BEGINNINGS]))
    for i in ends:
        prompt, known, start = prompts[i], alone[i], starts[i]
        kept = min(common_length(known, start + next(whole)) for _ in BEGINNINGS)
        if 0 < kept < len(known):
            shorter = [prompt[:end] for end in range(len(prompt) - 1, len(prompt.rstrip("".join(BLANKS))) - 1, -1)]
            blanks = [
                prompt[len(text) :]
                for text, ids in zip(shorter, tokenize(tokenizer, shorter), strict=True)
                if start + ids == known[:kept]
            ]
            if blanks:
                found[i] = known[:kept], blanks[0]
    return found


def unusual_joins(
    tokenizer: TokenizerLike,
    prompts: Sequence[str],
    answers: Sequence[Sequence[str]],
    joined: Sequence[Joined],
) -> tuple[dict[str, int], str]:
    """Count the cases in which the tokens of prompt and answer are not those of the two texts alone.

    Returns:
        n, the number of cases; moved, those in which a token of the prompt merges with an answer; differ, those in
        which an answer has other tokens than alone. And a sentence with an example, empty if there is none.
    """
    texts = list(dict.fromkeys(text for case_answers in answers for text in case_answers))
    alone = dict(zip(texts, tokenize(tokenizer, texts), strict=True))
    counts, example = {"n": len(joined), "moved": 0, "differ": 0}, ""
    for prompt, case_answers, joint in zip(prompts, answers, joined, strict=True):
        pairs = zip(case_answers, joint.answers, strict=True)
        different = next(((text, ids) for text, ids in pairs if ids != alone[text]), None)
        counts["moved"] += joint.moved > 0
        counts["differ"] += different is not None
        if different is not None and not example:
            text, ids = different
            found, apart = (tokenizer.convert_ids_to_tokens(row) for row in (ids, alone[text]))
            example = f"after {_end(prompt)}, {shown(text)} is {shown(found)}, and alone {shown(apart)}"
    if not example:
        return counts, ""
    return counts, (
        f"the tokens of an answer differ from those that it has alone in {counts['differ']:,} of {counts['n']:,} "
        f"cases (in {counts['moved']:,} it merges with a token of the prompt): {example}"
    )


def _end(prompt: str) -> str:
    """The end of a prompt, for errors."""
    return shown(prompt.replace(CHAT, "").replace(MARK, "")[-20:])


def _check(prompt: str, texts: Sequence[str], joined: Joined, room: int, none_begins: bool) -> None:
    end, longest = _end(prompt), len(joined.prompt) + max(map(len, joined.answers))
    if not joined.prompt:
        raise TunediffError(
            f"params.yaml: prompt.template: found no token before {shown(texts[0])} in {end}, expected a text"
        )
    if longest > room:
        raise TunediffError(
            f"params.yaml: prompt: found {longest} tokens of a prompt and its answer, expected at most {room}; shorten "
            f"the case that ends with {end}, or set prompt.max_tokens lower and prompt.too_long: truncate"
        )
    for text, tokens in zip(texts, joined.answers, strict=True):
        if not tokens:
            raise TunediffError(f"params.yaml: prompt.choices: found no token in {text!r} after {end}, expected a text")
        for other, longer in zip(texts, joined.answers, strict=True) if none_begins else ():
            if tokens is not longer and longer[: len(tokens)] == tokens:
                raise TunediffError(
                    f"params.yaml: prompt.choices: {text!r} is a prefix of {other!r}, so it would always be at least "
                    "as likely; expected texts of which none is a prefix of another"
                )
