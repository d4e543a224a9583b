"""Training rows of a chat model, and a check that they equal what evaluation asks.

    rows = chat_rows(loaded, cases, ["yes", "no"], ["yes", "no"], prompt)     # token ids and number of targets per case
    prove_parity(loaded, cases, golds, choices, prompt, rows)          # {"parity_cases": 2, "parity_equal": 2, ...}

A row is the evaluation prompt, the answer, and the end of the assistant's turn. The check starts from finished rows: it
renders the prompt as evaluation does, lets transformers render and tokenize the whole conversation, and compares token
by token.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.inputs.chat import Chat, Turn, template_of
from tunediff.inputs.joins import join
from tunediff.inputs.prompts import render_cases
from tunediff.inputs.tokens import CHAT, common_length, control_tokens, encode_prompts, tokenize
from tunediff.models.load import Loaded
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class _Questions(NamedTuple):
    """Cases as evaluation asks them: the inputs of each conversation, its prompt, and what follows it."""

    chat: Chat
    inputs: list[dict[str, str]]
    read: list[list[int]]  # tokens of each prompt alone
    turns: list[Turn]  # turns of the gold answers
    rows: list[tuple[list[int], list[int], list[int]]]  # tokens of prompt, gold answer and end of the turn


def chat_rows(
    loaded: Loaded, cases: Sequence[Case], golds: Sequence[str], choices: Sequence[str], prompt: Prompt
) -> list[tuple[list[int], int]]:
    """Return the token ids of each row and its number of targets; see `loss.answer_rows`.

    Args:
        loaded: the model, for its tokenizer and context.
        cases: the cases.
        golds: the gold answer of each case.
        choices: all answers that are scored, including the gold ones; empty for free-text answers.
        prompt: the section prompt, with messages.

    Raises:
        TunediffError: the chat template refuses the messages, or does not write the answer after the prompt.
    """
    questions = _questions(loaded, cases, golds, choices, prompt)
    return [(prompt + answer + end, len(answer) + len(end)) for prompt, answer, end in questions.rows]


def prove_parity(
    loaded: Loaded,
    cases: Sequence[Case],
    golds: Sequence[str],
    choices: Sequence[str],
    prompt: Prompt,
    rows: Sequence[tuple[list[int], int]],
) -> dict[str, int]:
    """Compare each training row with the evaluation prompt, the answer and the end of the turn.

    Args:
        loaded: as for `chat_rows`.
        cases: the cases.
        golds: as for `chat_rows`.
        choices: as for `chat_rows`.
        prompt: as for `chat_rows`.
        rows: token ids and number of targets of each case, as training reads them.

    Returns:
        parity_cases, the number of cases; parity_equal, the number of equal rows, which is the same; and
        parity_spelled, the number of cases whose text spells a control token. transformers would read it as one, so
        these rows are not compared with its tokens.

    Raises:
        TunediffError: a row differs; the message names the first case and the kind of difference.
    """
    tokenizer, questions = loaded.tokenizer, _questions(loaded, cases, golds, choices, prompt)
    control, spelled = control_tokens(tokenizer), 0
    for case, inputs, gold, turn, read, (beginning, answer, end), (row, targets) in zip(
        cases, questions.inputs, golds, questions.turns, questions.read, questions.rows, rows, strict=True
    ):
        _check(tokenizer, case, "training", row, [*beginning, *answer, *end])
        learned = len(answer) + len(end)
        if targets != learned:
            raise TunediffError(
                f"case {case.case_id}: found {targets} tokens to learn, expected {learned}: those of the answer and of "
                "the end of the turn"
            )
        turns = questions.chat.conversation(inputs)
        if any(text in message["content"] for text in control for message in turns):
            spelled += 1
        else:
            _check(tokenizer, case, "evaluation", read, questions.chat.tokens(turns, generation=True))
            whole = questions.chat.tokens([*turns, {"role": "assistant", "content": gold}], generation=False)
            # If the template writes no end of the turn, the row ends with the tokenizer's end marker.
            same = row if turn.end else row[: len(row) - len(end)]
            _check(tokenizer, case, "training", same, whole[: len(same)])
    return {"parity_cases": len(rows), "parity_equal": len(rows), "parity_spelled": spelled}


def _questions(
    loaded: Loaded, cases: Sequence[Case], golds: Sequence[str], choices: Sequence[str], prompt: Prompt
) -> _Questions:
    tokenizer = loaded.tokenizer
    chat = Chat(template_of(tokenizer, loaded.model.name_or_path), prompt)
    # The turns are rendered after the first case to find the longest answer, and compared with those of every case.
    distinct = list(dict.fromkeys([*golds, *choices]))
    known = dict(zip(distinct, chat.turns([cases[0].inputs] * len(distinct), distinct), strict=True))
    longest = max(len(ids) for ids in tokenize(tokenizer, [turn.answer for turn in known.values()]))
    ending = max(1, *map(len, tokenize(tokenizer, [CHAT + turn.end for turn in known.values()])))

    def count(prompts: Sequence[str]) -> list[int]:
        return list(map(len, encode_prompts(tokenizer, prompts)))

    rendered = render_cases(cases, prompt, count, loaded.context, longest + ending, chat)
    inputs, prompts = [dict(row.inputs) for row in rendered], [row.text for row in rendered]
    turns = chat.turns(inputs, golds)
    for case, gold, turn in zip(cases, golds, turns, strict=True):
        if turn != known[gold]:
            raise TunediffError(
                f"case {case.case_id}: the chat template writes {shown(turn.answer)} for the answer {shown(gold)}, and "
                f"{shown(known[gold].answer)} in case {cases[0].case_id}; expected the same everywhere"
            )
    # As in `TransformersEngine`, all choices determine where the prompt ends.
    texts = [list(choices) or [gold] for gold in golds]
    answers = [[known[text].answer for text in row] for row in texts]
    read = encode_prompts(tokenizer, prompts)
    joined = join(tokenizer, prompts, answers, loaded.context - ending, read)
    wholes = tokenize(tokenizer, [text + turn.answer + turn.end for text, turn in zip(prompts, turns, strict=True)])
    # For templates without a special token at the end of a turn.
    end_marker = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    rows = []
    for case, joint, row, gold, turn, whole in zip(cases, joined, texts, golds, turns, wholes, strict=True):
        answer = joint.answers[row.index(gold)]
        before = joint.prompt + answer
        if whole[: len(before)] != before:
            raise TunediffError(
                f"case {case.case_id}: the end of the turn merges with the answer {shown(turn.answer)}, "
                f"{_difference(tokenizer, before, whole)}; expected a chat template after which an answer keeps the "
                "tokens that are scored"
            )
        rows.append((joint.prompt, answer, whole[len(before) :] or end_marker))
    return _Questions(chat, inputs, read, turns, rows)


def _check(tokenizer: "PreTrainedTokenizerBase", case: Case, what: str, found: list[int], expected: list[int]) -> None:
    if found != expected:
        raise TunediffError(
            f"case {case.case_id}: {what} reads different tokens than the chat template renders, "
            f"{_difference(tokenizer, found, expected)}; training and evaluation would use different prompts"
        )


def _difference(tokenizer: "PreTrainedTokenizerBase", found: list[int], expected: list[int]) -> str:
    """The kind of difference between two rows of tokens, and the tokens around the first difference."""
    place = common_length(found, expected)
    actual, wanted = (tokenizer.convert_ids_to_tokens(row[max(0, place - 1) : place + 4]) for row in (found, expected))
    texts = [str(tokenizer.decode(row, skip_special_tokens=False)) for row in (found, expected)]
    bos = [tokenizer.bos_token_id] * 2
    if None not in bos and bos in (found[:2], expected[:2]):
        kind = "BOS twice"
    elif ("<think>" in texts[0]) != ("<think>" in texts[1]):
        kind = "a thinking block"
    elif "".join(texts[0].split()) == "".join(texts[1].split()):
        kind = "white space"
    elif len(found) < len(expected) and found[place:] == expected[len(expected) - len(found) + place :]:
        kind = "a part that is missing, such as the generation prompt"
    else:
        kind = "different tokens"
    return f"{kind}: {shown(actual)} in place of {shown(wanted)}"
