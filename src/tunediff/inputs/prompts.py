r"""The one renderer of prompts, for training and for both evaluations.

    render("Premise: {premise}\nAnswer:", {"premise": "A dog {sleeps}."})     # the braces of the case stay text

A prompt's tokens start with exactly one BOS where the model's tokenizer knows one at all. Text that spells a special
token of the model inside a case stays text: only the renderer places special tokens.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunediff.config.prompt import Prompt
from tunediff.config.task import UNANSWERABLE
from tunediff.data.cases import Case
from tunediff.inputs.joins import beginning
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.hashing import content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Row:
    """What the model reads at once: token ids and, where the layout has them, token types."""

    tokens: list[int]
    token_types: list[int] | None


@dataclass(frozen=True)
class Encoded(Row):
    """One case as the model reads it: its row, the hash of what was rendered, whether it was cut to fit, and its text.

    There is a text where an answer follows it.
    """

    prompt_hash: str
    truncated: bool
    text: str = ""

    @property
    def n_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.tokens)


def render(template: str, inputs: Mapping[str, str]) -> str:
    """Fill a template's {names} in one pass, so that braces inside an input are never read as names."""
    return re.sub(r"\{(\w+)\}", lambda match: inputs[match[1]], template)


def written_answer(case: Case, prompt: Prompt) -> str:
    """The text that a language model shall write about a question: its first gold answer, or that it has none.

    One line, since a line end ends what is written; apart from the prompt by a space where that has none at its end.
    """
    text = " ".join(case.answers[0].text.split()) if case.answers else UNANSWERABLE
    return text if (prompt.template or "")[-1:].isspace() else f" {text}"


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a text alone: no BOS, no EOS, and no special token even where the text spells one."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    return ids


def encode_cases(
    tokenizer: "PreTrainedTokenizerBase", cases: Sequence[Case], prompt: Prompt, context: int, reserved: int = 0
) -> list[Encoded]:
    """Every case as the model reads it, in the order of the cases.

    Args:
        tokenizer: the model's tokenizer.
        cases: the cases.
        prompt: template, choices, and what to do with inputs that are too long.
        context: tokens that the model can read.
        reserved: tokens kept free behind the prompt for the answer.

    Raises:
        TunediffError: inputs are longer than the room there is, and prompt.too_long is refuse; a prompt has no token;
            or a head is to read inputs that its tokenizer cannot put side by side.
    """
    room = min(context, prompt.max_tokens or context) - reserved
    answered = prompt.choices is not None or reserved > 0
    encode = _prompt_encoder(tokenizer, prompt, answered)
    encoded, too_long = [], []
    for case in cases:
        inputs = dict(case.inputs)
        tokens, token_types = encode(inputs)
        truncated = len(tokens) > room
        if truncated:
            too_long.append((len(tokens), case.case_id))
        if truncated and prompt.too_long == "truncate":
            inputs = cut(inputs, room, lambda shorter: len(encode(shorter)[0]))
            tokens, token_types = encode(inputs)
        content = {"inputs": inputs, "template": prompt.template, "choices": prompt.choices}
        text = render(prompt.template or "", inputs) if answered else ""
        encoded.append(Encoded(tokens, token_types, content_hash(content), truncated, text))
    if too_long and prompt.too_long == "refuse":
        length, case_id = max(too_long)
        raise TunediffError(
            f"case {case_id}: found {length} tokens, the longest of {len(too_long):,} too long cases among "
            f"{len(cases):,}, expected at most {room} (the model's context or prompt.max_tokens, less {reserved} for "
            "the answer); shorten them, or set prompt.too_long: truncate"
        )
    for one, case in zip(encoded, cases, strict=True):
        if not 0 < len(one.tokens) <= room:
            raise TunediffError(
                f"case {case.case_id}: found {len(one.tokens)} tokens{' beside the inputs' if one.truncated else ''}, "
                f"expected from 1 to {room} (the model's context or prompt.max_tokens, less {reserved} for the answer)"
            )
    return encoded


def cut(inputs: Mapping[str, str], room: int, count: Callable[[Mapping[str, str]], int]) -> dict[str, str]:
    """The inputs, every one cut to the same number of characters: the greatest at which `count` is at most `room`.

    So the longest input loses its end first, and an input that is shorter stays whole.
    """

    def shorter(length: int) -> dict[str, str]:
        return {name: text[:length] for name, text in inputs.items()}

    low, high = 0, max(len(text) for text in inputs.values())
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(shorter(middle)) <= room else (low, middle)
    return shorter(low)


def _prompt_encoder(
    tokenizer: "PreTrainedTokenizerBase", prompt: Prompt, answered: bool
) -> Callable[[Mapping[str, str]], tuple[list[int], list[int] | None]]:
    """How inputs become tokens (and token types, where the layout has them).

    Before an answer (`answered`) stands the text alone, behind a BOS. A head, which writes none, reads the tokenizer's
    own form with all its special tokens, such as [CLS] premise [SEP] hypothesis [SEP].
    """
    template = prompt.template
    if not answered:

        def encode_fields(inputs: Mapping[str, str]) -> tuple[list[int], list[int] | None]:
            texts = list(inputs.values()) if template is None else [render(template, inputs)]
            if len(texts) > (1 if tokenizer.sep_token_id is None else 2):
                raise TunediffError(
                    f"params.yaml: prompt.template: missing, and this model's tokenizer has no form of its own for "
                    f"{len(texts)} inputs; expected a text with {', '.join(f'{{{name}}}' for name in inputs)}"
                )
            row = tokenizer(*texts, add_special_tokens=True, split_special_tokens=True)
            return row["input_ids"], row.get("token_type_ids")

        return encode_fields
    bos = beginning(tokenizer)

    def encode_template(inputs: Mapping[str, str]) -> tuple[list[int], None]:
        return bos + encode_text(tokenizer, render(template or "", inputs)), None

    return encode_template
