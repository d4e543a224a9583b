r"""Prompts of chat models: conversations that transformers renders with the model's own chat template.

    chat = Chat(template_of(tokenizer, "models/base"), params.prompt)
    [prompt] = chat.prompts([{"text": "It rains."}])         # CHAT, then the text with a MARK before each special token
    [turn] = chat.turns([{"text": "It rains."}], ["yes"])    # Turn(answer="yes", end="\0<|im_end|>")

Text of a case that spells a special token stays text: it is marked before the template sees it, which distinguishes it
from the special tokens that the template writes. With an answer as the assistant's turn, the template must continue the
prompt with only the answer, up to white space, and the end of the turn, so that a model is trained, scored and
evaluated at the same position.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tunediff.config.prompt import Prompt
from tunediff.inputs.prompts import render
from tunediff.inputs.tokens import CHAT, MARK, common_length, control_tokens, special_tokens, tokenize
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Inputs = Mapping[str, str]
Conversation = list[dict[str, str]]

# Thinking is off for templates that support it; others ignore these variables. `strftime_now` is disabled: see
# `_template_error`.
DEFAULTS: dict[str, Any] = {"enable_thinking": False, "thinking": False}
NO_CLOCK = {"strftime_now": "none"}


class Turn(NamedTuple):
    """What a template writes after a prompt: the answer, with preceding white space, and the end of the turn.

    `end` includes the first special token with its MARK; it is empty if the template writes none.
    """

    answer: str
    end: str


class Template(NamedTuple):
    """A chat template: its model's folder or id, for errors, the tokenizer that renders it, and its text."""

    place: str
    tokenizer: "PreTrainedTokenizerBase"
    text: str


class Messages:
    """`prompt.messages` of each case, for a server, which has the chat template."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt

    def conversation(self, inputs: Inputs) -> Conversation:
        """Return the messages with the inputs of a case filled in."""
        return [
            {"role": message.role, "content": render(message.content, inputs)} for message in self.prompt.messages or ()
        ]

    def prompts(self, inputs: Sequence[Inputs]) -> list[str]:
        """Return CHAT, then the messages of each case and the variables of the chat template as JSON."""
        values = {"chat_template_kwargs": dict(self.prompt.chat_template_kwargs)}
        return [
            CHAT + json.dumps({"messages": self.conversation(case_inputs), **values}, ensure_ascii=False)
            for case_inputs in inputs
        ]


class Chat(Messages):
    """`prompt.messages` rendered by a model's chat template.

    Args:
        template: the model's chat template.
        prompt: the section prompt, with messages.
        others: chat templates that must render the same prompts.
    """

    def __init__(self, template: Template, prompt: Prompt, others: Sequence[Template] = ()) -> None:
        super().__init__(prompt)
        self.template = template
        self.others = [other for other in others if _template_key(other) != _template_key(template)]

    def prompts(self, inputs: Sequence[Inputs]) -> list[str]:
        """Return the prompt of each case, up to the position where the assistant answers.

        Raises:
            TunediffError: the template refuses the messages, writes BOS twice or the current date, or renders another
                prompt than the other templates.
        """
        conversations = [self.conversation(case_inputs) for case_inputs in inputs]
        texts = self._rendered(self.template, conversations, generation=True)
        bos = self.template.tokenizer.bos_token
        if bos and any(text.startswith(CHAT + 2 * (MARK + bos)) for text in texts):
            raise TunediffError(
                f"{self.template.place}: the chat template writes BOS twice ({bos}{bos}), expected it once"
            )
        for other in self.others:
            for mine, theirs in zip(texts, self._rendered(other, conversations, generation=True), strict=True):
                if mine != theirs:
                    ours, found = map(_shown, _after_common_prefix(mine, theirs))
                    raise TunediffError(
                        f"{self.template.place} and {other.place}: their chat templates write different prompts "
                        f"({ours} and {found}); expected the same chat template for base and tuned model"
                    )
        return texts

    def turns(self, inputs: Sequence[Inputs], answers: Sequence[str]) -> list[Turn]:
        """Return what the template writes after the prompt of each case, with the answer as the assistant's turn.

        Raises:
            TunediffError: as `prompts`, or the prompt is not followed by the answer.
        """
        prompts = self.prompts(inputs)
        answered = [
            [*self.conversation(case_inputs), {"role": "assistant", "content": answer}]
            for case_inputs, answer in zip(inputs, answers, strict=True)
        ]
        texts = self._rendered(self.template, answered, generation=False)
        return [self._turn(*each) for each in zip(prompts, texts, answers, strict=True)]

    def tokens(self, turns: Conversation, generation: bool) -> list[int]:
        """Return the token ids of a conversation as transformers renders and tokenizes it, for comparison.

        Args:
            turns: roles and contents.
            generation: whether to add the generation prompt.
        """
        tokens: Any = self.template.tokenizer.apply_chat_template(
            turns,
            chat_template=self.template.text,
            add_generation_prompt=generation,
            return_dict=False,
            **self._kwargs(),
        )
        return list(tokens)

    def _turn(self, prompt: str, text: str, answer: str) -> Turn:
        continuation = text.removeprefix(prompt)
        for written in dict.fromkeys([answer, answer.strip()]):
            place = continuation.find(written) if text.startswith(prompt) else -1
            if place >= 0 and not continuation[:place].strip():
                end = re.match(rf"\s*(?:{self._spelled(MARK)})", continuation[place + len(written) :])
                return Turn(continuation[: place + len(written)], end[0] if end else "")
        known, found = _after_common_prefix(text, prompt)
        where = (
            f"{self.template.place}: after a prompt the chat template writes {_shown(known)} where the answer is known"
        )
        if "think" in (known + found).lower():
            raise TunediffError(
                f"{where}, and {_shown(found)} where it is to be generated: only one of them has a thinking block; "
                "expected none, or the same in both: see prompt.chat_template_kwargs"
            )
        if text.startswith(prompt):
            raise TunediffError(
                f"{where}, and nothing where it is to be generated (add_generation_prompt); expected a generation "
                f"prompt that ends where the answer {shown(answer)} begins"
            )
        raise TunediffError(
            f"{where}, and {_shown(found)} where it is to be generated; expected a prompt that the answer "
            f"{shown(answer)} follows"
        )

    def _rendered(self, by: "Template", conversations: Sequence[Conversation], generation: bool) -> list[str]:
        """CHAT and the text of each conversation, with a MARK before every special token that the template wrote."""
        spelled = self._spelled()
        marked = [
            [turn | {"content": re.sub(spelled, lambda match: MARK + match[0], turn["content"])} for turn in turns]
            for turns in conversations
        ]
        try:
            texts = by.tokenizer.apply_chat_template(
                marked, chat_template=by.text, add_generation_prompt=generation, tokenize=False, **self._kwargs()
            )
        # A template is a program from outside: it may raise anything, and it refuses roles by raising.
        except Exception as error:
            raise TunediffError(_template_error(by, error)) from None
        # Marked special tokens come from a case, unmarked ones from the template: swap the marks.
        swapped = re.compile(f"{MARK}?(?:{spelled})|{MARK}")
        return [
            CHAT + swapped.sub(lambda match: match[0][1:] if match[0][0] == MARK else MARK + match[0], str(text))
            for text in texts
        ]

    def _kwargs(self) -> dict[str, Any]:
        return DEFAULTS | dict(self.prompt.chat_template_kwargs) | NO_CLOCK

    def _spelled(self, before: str = "") -> str:
        """A pattern that matches the special tokens, each preceded by `before`."""
        return "|".join(before + re.escape(text) for text in control_tokens(self.template.tokenizer)) or "(?!)"


def _template_key(template: Template) -> tuple[str, Mapping[str, Any]]:
    """The key of a template: what the text of a prompt depends on besides the messages."""
    return template.text, template.tokenizer.special_tokens_map


def template_of(tokenizer: "PreTrainedTokenizerBase", place: str) -> Template:
    """Return the chat template of a tokenizer; if it has several, the default one.

    Args:
        tokenizer: tokenizer of a model.
        place: the model's folder or id, for errors.

    Raises:
        TunediffError: the tokenizer has no chat template, or none that can be used.
    """
    if not tokenizer.chat_template:
        raise TunediffError(
            f"params.yaml: prompt.messages: given, but {place} has no chat template (chat_template.jinja); expected "
            "prompt.template, or a chat model"
        )
    if not tokenizer.is_fast:
        raise TunediffError(
            f"params.yaml: prompt.messages: given, but {place} has no tokenizer.json; expected a model that has one"
        )
    try:
        return Template(place, tokenizer, str(tokenizer.get_chat_template()))
    except ValueError as error:  # several, and none of them is the default
        raise TunediffError(f"{place}: {one_line(error)}") from None


def check_spelling(tokenizer: "PreTrainedTokenizerBase", prompt: Prompt) -> None:
    """Refuse a template or messages that spell a special token, because it would be read as plain text.

    Raises:
        TunediffError: a special token is spelled.
    """
    if prompt.messages is None:
        key, spelled = "template", special_tokens(tokenizer)
        expected = "a text without it, or prompt.messages, which the model's own chat template renders"
    else:
        key, spelled = "messages", control_tokens(tokenizer)
        expected = "a text without it: the chat template places special tokens"
    for token in (token for text in prompt.texts for token in spelled if len(token) > 1 and token in text):
        raise TunediffError(
            f"params.yaml: prompt.{key}: found {token!r}, which is a special token of this model but would be read "
            f"here as plain text; expected {expected}"
        )


def around_answers(chat: Chat) -> tuple[str, list[int]]:
    """Return the white space that the chat template writes before an answer, and the ids that end its turn.

    Both are empty if the template cannot render an answer.
    """
    answer = "Yes."
    try:
        [turn] = chat.turns([defaultdict(lambda: "x")], [answer])
    except TunediffError:
        return "", []
    ends = tokenize(chat.template.tokenizer, [CHAT + turn.end])[0][-1:] if turn.end else []
    return turn.answer.removesuffix(answer), ends


def _template_error(by: Template, error: Exception) -> str:
    if "strftime_now" in by.text and "not callable" in str(error):
        return (
            f"{by.place}: the chat template writes the current date, so a case would have a different prompt tomorrow; "
            'expected a fixed date in prompt.chat_template_kwargs, such as {date_string: "26 Jul 2024"}'
        )
    return f"{by.place}: the chat template refuses prompt.messages: {one_line(error)}"


def _after_common_prefix(first: str, second: str) -> tuple[str, str]:
    """What is left of two texts after their common prefix."""
    length = common_length(first, second)
    return first[length:], second[length:]


def _shown(text: str) -> str:
    return shown(text.replace(CHAT, "").replace(MARK, "")[:40])
