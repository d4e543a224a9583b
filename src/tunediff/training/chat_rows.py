"""What a chat model learns from a case, and the proof that it is what the model will be asked.

    rows = chat_rows(loaded, cases, ["yes", "no"], ["yes", "no"], prompt)     # of each case token ids, and targets
    prove_parity(loaded, cases, golds, choices, prompt, rows)          # {"parity_cases": 2, "parity_equal": 2, ...}

A row is what evaluation asks, the answer, and the end of the assistant's turn. The proof goes the other way round: it
takes finished rows, asks as evaluation does, lets transformers write and tokenise the whole conversation, and compares
token by token.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.inputs.chat import Chat, Turn, template_of
from tunediff.inputs.joins import join
from tunediff.inputs.prompts import render_cases
from tunediff.inputs.tokens import CHAT, control_tokens, encode_prompts, tokenise
from tunediff.models.load import Loaded
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class _Questions(NamedTuple):
    """Cases as evaluation asks them: what stands in each conversation, the prompts, and what follows them."""

    chat: Chat
    inputs: list[dict[str, str]]
    read: list[list[int]]  # the tokens of each prompt alone
    turns: list[Turn]  # of the gold answers
    rows: list[tuple[list[int], list[int], list[int]]]  # tokens of the prompt, of its gold answer, of the turn's end


def chat_rows(
    loaded: Loaded, cases: Sequence[Case], golds: Sequence[str], choices: Sequence[str], prompt: Prompt
) -> list[tuple[list[int], int]]:
    """Token ids of each row, and how many of its last ones are targets: see `loss.answer_rows`.

    Args:
        loaded: the model, for its tokenizer and context.
        cases: the cases.
        golds: of each case the answer.
        choices: every answer that is scored, among them the gold ones; none: there is nothing to choose from.
        prompt: the section; it has messages.

    Raises:
        TunediffError: the chat template refuses the messages, or does not write the answer where it is asked for.
    """
    posed = _questions(loaded, cases, golds, choices, prompt)
    return [(prompt + answer + end, len(answer) + len(end)) for prompt, answer, end in posed.rows]


def prove_parity(
    loaded: Loaded,
    cases: Sequence[Case],
    golds: Sequence[str],
    choices: Sequence[str],
    prompt: Prompt,
    rows: Sequence[tuple[list[int], int]],
) -> dict[str, int]:
    """Compare each row that training reads with what evaluation asks, the answer and the end of the turn.

    Args:
        loaded: as for `chat_rows`.
        cases: the cases.
        golds: as for `chat_rows`.
        choices: as for `chat_rows`.
        prompt: as for `chat_rows`.
        rows: of each case the token ids that training reads, and how many of them it learns.

    Returns:
        parity_cases, and how many of them are equal: all. parity_spelled: cases whose text spells a control token,
        which transformers would read as one; their conversation is compared with our own tokens alone.

    Raises:
        TunediffError: a row is another one; the line names the first case and what kind of difference it is.
    """
    tokenizer, posed = loaded.tokenizer, _questions(loaded, cases, golds, choices, prompt)
    control, spelled, equal = control_tokens(tokenizer), 0, 0
    for case, inputs, gold, turn, read, (beginning, answer, end), (row, targets) in zip(
        cases, posed.inputs, golds, posed.turns, posed.read, posed.rows, rows, strict=True
    ):
        _check(tokenizer, case, "training", row, [*beginning, *answer, *end])
        learned = len(answer) + len(end)
        if targets != learned:
            raise TunediffError(
                f"case {case.case_id}: found {targets} tokens to learn, expected {learned}: those of the answer and of "
                "the end of the turn"
            )
        turns = posed.chat.conversation(inputs)
        if any(text in one["content"] for text in control for one in turns):
            spelled += 1
        else:
            _check(tokenizer, case, "evaluation", read, posed.chat.tokens(turns, generation=True))
            whole = posed.chat.tokens([*turns, {"role": "assistant", "content": gold}], generation=False)
            # An end of ours stands for one that the template does not write.
            same = row if turn.end else row[: len(row) - len(end)]
            _check(tokenizer, case, "training", same, whole[: len(same)])
        equal += 1
    return {"parity_cases": len(rows), "parity_equal": equal, "parity_spelled": spelled}


def _questions(
    loaded: Loaded, cases: Sequence[Case], golds: Sequence[str], choices: Sequence[str], prompt: Prompt
) -> _Questions:
    tokenizer = loaded.tokenizer
    chat = Chat(template_of(tokenizer, loaded.model.name_or_path), prompt)
    # What the template makes of an answer is asked once, behind the first case, and then compared in every one.
    distinct = list(dict.fromkeys([*golds, *choices]))
    known = dict(zip(distinct, chat.turns([cases[0].inputs] * len(distinct), distinct), strict=True))
    longest = max(len(ids) for ids in tokenise(tokenizer, [turn.answer for turn in known.values()]))
    ending = max(1, *map(len, tokenise(tokenizer, [CHAT + turn.end for turn in known.values()])))

    def count(prompts: Sequence[str]) -> list[int]:
        return list(map(len, encode_prompts(tokenizer, prompts)))

    rendered = render_cases(cases, prompt, count, loaded.context, longest + ending, chat)
    inputs, prompts = [dict(one.inputs) for one in rendered], [one.text for one in rendered]
    turns = chat.turns(inputs, golds)
    for case, gold, turn in zip(cases, golds, turns, strict=True):
        if turn != known[gold]:
            raise TunediffError(
                f"case {case.case_id}: the chat template writes {shown(turn.answer)} for the answer {shown(gold)}, and "
                f"{shown(known[gold].answer)} in case {cases[0].case_id}; expected the same everywhere"
            )
    # As `TransformersEngine` scores them: all choices have a say in where the prompt ends.
    texts = [list(choices) or [gold] for gold in golds]
    answers = [[known[text].answer for text in row] for row in texts]
    read = encode_prompts(tokenizer, prompts)
    joined = join(tokenizer, prompts, answers, loaded.context - ending, read)
    wholes = tokenise(tokenizer, [text + turn.answer + turn.end for text, turn in zip(prompts, turns, strict=True)])
    rows = []
    for case, one, row, gold, turn, whole in zip(cases, joined, texts, golds, turns, wholes, strict=True):
        answer = one.answers[row.index(gold)]
        before = one.prompt + answer
        if whole[: len(before)] != before:
            raise TunediffError(
                f"case {case.case_id}: the end of the turn merges with the answer {shown(turn.answer)}, "
                f"{_named(tokenizer, before, whole)}; expected a chat template behind which an answer keeps the "
                "tokens that it is scored by"
            )
        rows.append((one.prompt, answer, whole[len(before) :] or _marker(tokenizer)))
    return _Questions(chat, inputs, read, turns, rows)


def _marker(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """What ends a text: it ends a turn for which the template has no special token."""
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _check(
    tokenizer: "PreTrainedTokenizerBase", case: Case, what: str, found: Sequence[int], expected: Sequence[int]
) -> None:
    if list(found) != list(expected):
        raise TunediffError(
            f"case {case.case_id}: {what} reads different tokens than the chat template renders, "
            f"{_named(tokenizer, found, expected)}; training and evaluation would use different prompts"
        )


def _named(tokenizer: "PreTrainedTokenizerBase", found: Sequence[int], expected: Sequence[int]) -> str:
    """What kind of difference there is between two rows of tokens, and the first one."""
    place = next(
        (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), min(len(found), len(expected))
    )
    actual, wanted = (
        tokenizer.convert_ids_to_tokens(list(row[max(0, place - 1) : place + 4])) for row in (found, expected)
    )
    texts = [str(tokenizer.decode(list(row), skip_special_tokens=False)) for row in (found, expected)]
    bos = [tokenizer.bos_token_id] * 2
    if None not in bos and bos in (list(found[:2]), list(expected[:2])):
        kind = "BOS twice"
    elif ("<think>" in texts[0]) != ("<think>" in texts[1]):
        kind = "a thinking block"
    elif "".join(texts[0].split()) == "".join(texts[1].split()):
        kind = "white space"
    elif len(found) < len(expected) and list(found[place:]) == list(expected[len(expected) - len(found) + place :]):
        kind = "a part that is missing, such as the generation prompt"
    else:
        kind = "different tokens"
    return f"{kind}: {shown(actual)} in place of {shown(wanted)}"
