r"""The renderer of prompts, for training and for the evaluation of both models.

    render("Premise: {premise}\nAnswer:", {"premise": "A dog {sleeps}."})     # the braces of the case stay text

The tokens of a prompt start with exactly one BOS if the tokenizer has one. Text of a case that spells a special token
stays text: only the renderer places special tokens.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.runtime.hashing import content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunediff.inputs.chat import Messages

Value = TypeVar("Value")


@dataclass(frozen=True)
class Row:
    """A row of a batch: token ids and, if the layout has them, token types."""

    tokens: list[int]
    token_types: list[int] | None


@dataclass(frozen=True)
class Encoded(Row):
    """A case as a model with a head reads it: its row, the hash of the prompt, and whether it was cut to fit."""

    prompt_hash: str
    truncated: bool

    @property
    def n_tokens(self) -> int:
        """Number of tokens of the prompt."""
        return len(self.tokens)


@dataclass(frozen=True)
class Rendered:
    """A case as text: the prompt, its number of tokens, its hash, whether it was cut to fit, and its inputs.

    The inputs are those in the text, after cutting.
    """

    text: str
    n_tokens: int
    prompt_hash: str
    truncated: bool
    inputs: Mapping[str, str]


def render(template: str, inputs: Mapping[str, str]) -> str:
    """Fill in the {names} of a template in one pass, so that braces inside an input are not read as names."""
    return re.sub(r"\{(\w+)\}", lambda match: inputs[match[1]], template)


def answer_text(case: Case, prompt: Prompt) -> str:
    """Return the text that a language model learns to generate after the prompt of a case.

    This is the choice of its label if there are choices; else its first gold answer, or its label if it has none,
    joined to one line if a line feed ends generation, and preceded by a space unless the prompt ends in white space.

    Raises:
        TunediffError: the answer contains a text that ends generation.
    """
    if prompt.choices is not None:
        return prompt.choices[case.label]
    text, stop = (case.answers[0].text if case.answers else case.label).strip(), prompt.stop
    if stop is None or "\n" in stop:
        text = " ".join(text.split())
    if within := [end for end in stop or () if end in text]:
        raise TunediffError(
            f"case {case.case_id}: answer: found {shown(within[0])} in it, which ends generation; expected another "
            "text in prompt.stop"
        )
    return _after(prompt, text)


def option_texts(case: Case, prompt: Prompt) -> list[str]:
    """Return the texts of the options of a case, as they follow its prompt, in their order."""
    return [_after(prompt, option) for option in case.options]


def _after(prompt: Prompt, text: str) -> str:
    """The text after a prompt, with a space before it unless the prompt ends in white space or is a chat."""
    return text if prompt.messages is not None or (prompt.template or "")[-1:].isspace() else f" {text}"


def encode_cases(
    tokenizer: "PreTrainedTokenizerBase", cases: Sequence[Case], prompt: Prompt, context: int
) -> list[Encoded]:
    """Encode every case as a model with a head reads it, in the order of the cases.

    Args:
        tokenizer: the model's tokenizer.
        cases: the cases.
        prompt: template, and what to do with inputs that are too long.
        context: context length of the model in tokens.

    Raises:
        TunediffError: inputs are too long and prompt.too_long is refuse, a prompt has no tokens, or the tokenizer has
            no form for this number of inputs of a head.
    """

    def read(inputs: Sequence[Mapping[str, str]]) -> list[tuple[list[int], list[int] | None]]:
        return [_encode_fields(tokenizer, prompt.template, case_inputs) for case_inputs in inputs]

    fitted = _fit(cases, prompt, context, 0, read, lambda row: len(row[0]))
    encoded = []
    for row, inputs, truncated in fitted:
        texts = list(inputs.values()) if prompt.template is None else [render(prompt.template, inputs)]
        encoded.append(Encoded(*row, prompt_hash(prompt, texts), truncated))
    return encoded


def render_cases(
    cases: Sequence[Case],
    prompt: Prompt,
    count: Callable[[Sequence[str]], list[int]],
    context: int,
    reserved: int,
    chat: "Messages | None" = None,
) -> list[Rendered]:
    """Render every case as text, in the order of the cases.

    Args:
        cases: the cases.
        prompt: template, choices, and what to do with inputs that are too long.
        count: returns the number of tokens of each text.
        context: context length of the model in tokens.
        reserved: number of tokens to keep free after the prompt for the answer.
        chat: renderer of the messages, if the prompt has messages.

    Raises:
        TunediffError: as `encode_cases`, or the chat template refuses the messages.
    """

    def read(inputs: Sequence[Mapping[str, str]]) -> list[tuple[str, int]]:
        texts = (
            [render(prompt.template or "", case_inputs) for case_inputs in inputs]
            if chat is None
            else chat.prompts(inputs)
        )
        return list(zip(texts, count(texts), strict=True))

    fitted = _fit(cases, prompt, context, reserved, read, lambda text: text[1])
    return [
        Rendered(text, n_tokens, prompt_hash(prompt, [text]), truncated, inputs)
        for (text, n_tokens), inputs, truncated in fitted
    ]


def prompt_hash(prompt: Prompt, texts: Sequence[str]) -> str:
    """Return a hash of everything that a model reads of a case: its texts, and the texts of scored choices."""
    return content_hash([texts, sorted((prompt.choices or {}).values())])


def _fit(
    cases: Sequence[Case],
    prompt: Prompt,
    context: int,
    reserved: int,
    read: Callable[[Sequence[Mapping[str, str]]], list[Value]],
    size: Callable[[Value], int],
) -> list[tuple[Value, Mapping[str, str], bool]]:
    """For each case: the result of `read`, the inputs, and whether they were cut to fit."""
    room = min(context, prompt.max_tokens or context) - reserved
    inputs = [dict(case.inputs) for case in cases]
    values = read(inputs)
    too_long = [place for place, value in enumerate(values) if size(value) > room]
    if too_long and prompt.too_long == "refuse":
        length, case_id = max((size(values[place]), cases[place].case_id) for place in too_long)
        raise TunediffError(
            f"case {case_id}: found {length} tokens, the longest of {len(too_long):,} too long cases among "
            f"{len(cases):,}, expected at most {room} (the model's context or prompt.max_tokens, minus {reserved} "
            "for the answer); shorten them, or set prompt.too_long: truncate"
        )
    for place in too_long:
        inputs[place] = cut(inputs[place], room, lambda shorter: size(read([shorter])[0]))
        [values[place]] = read([inputs[place]])
    cut_places = set(too_long)
    for place, value in enumerate(values):
        if not 0 < size(value) <= room:
            raise TunediffError(
                f"case {cases[place].case_id}: found {size(value)} tokens"
                f"{' besides the inputs' if place in cut_places else ''}, expected from 1 to {room} (the model's "
                f"context or prompt.max_tokens, minus {reserved} for the answer)"
            )
    return [(value, inputs[place], place in cut_places) for place, value in enumerate(values)]


def cut(inputs: Mapping[str, str], room: int, count: Callable[[Mapping[str, str]], int]) -> dict[str, str]:
    """Cut all inputs to the same number of characters, the largest at which `count` is at most `room`.

    The longest input loses its end first, and shorter ones stay complete.
    """

    def shorter(length: int) -> dict[str, str]:
        return {name: text[:length] for name, text in inputs.items()}

    low, high = 0, max(len(text) for text in inputs.values())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(shorter(middle)) <= room else (low, middle)
    return shorter(low)


def _encode_fields(
    tokenizer: "PreTrainedTokenizerBase", template: str | None, inputs: Mapping[str, str]
) -> tuple[list[int], list[int] | None]:
    """Token ids and, if the layout has them, token types for a head.

    A head reads the tokenizer's own form with all its special tokens, such as [CLS] premise [SEP] hypothesis [SEP].
    """
    texts = list(inputs.values()) if template is None else [render(template, inputs)]
    if len(texts) > (1 if tokenizer.sep_token_id is None else 2):
        raise TunediffError(
            "params.yaml: prompt.template: missing, and this model's tokenizer has no template of its own for "
            f"{len(texts)} inputs; expected a text with {', '.join(f'{{{name}}}' for name in inputs)}"
        )
    row = tokenizer(*texts, add_special_tokens=True, split_special_tokens=True)
    return row["input_ids"], row.get("token_type_ids")
