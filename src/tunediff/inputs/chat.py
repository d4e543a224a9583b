r"""Prompts of a chat model: conversations that transformers renders with the model's own chat template.

    chat = Chat(template_of(tokenizer, "models/base"), params.prompt)
    [prompt] = chat.prompts([{"text": "It rains."}])         # CHAT, then the text with a MARK before each special token
    [turn] = chat.turns([{"text": "It rains."}], ["yes"])    # Turn(answer="yes", end="\0<|im_end|>")

Text of a case that spells a special token stays text: before the template sees it, it gets a mark, by which it is told
from what the template writes itself. What the template writes behind a prompt, with an answer given as the assistant's
turn, has to be the answer alone, apart from blanks, and then the end of the turn: so a model learns, writes and is
scored at the place where it is asked.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tunediff.config.prompt import Prompt
from tunediff.inputs.prompts import render
from tunediff.inputs.tokens import CHAT, MARK, control_tokens, special_tokens, tokenise
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Inputs = Mapping[str, str]
Conversation = list[dict[str, str]]

# A template that knows thinking has it off; others do not read these. `strftime_now` is no clock here: see `_refused`.
DEFAULTS: dict[str, Any] = {"enable_thinking": False, "thinking": False}
NO_CLOCK = {"strftime_now": "none"}


class Turn(NamedTuple):
    """What a template writes behind a prompt: the answer, with the blanks it puts before it, and the end of the turn.

    `end` goes up to the first special token, MARK before it; empty where the template writes none.
    """

    answer: str
    end: str


class Template(NamedTuple):
    """A chat template: whose it is (a folder or an id, for errors), the tokenizer that renders it, and its text."""

    place: str
    tokenizer: "PreTrainedTokenizerBase"
    text: str


class Messages:
    """`prompt.messages` of each case, for whoever has the chat template: a server."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt

    def conversation(self, inputs: Inputs) -> Conversation:
        """The messages with the inputs of a case in them."""
        return [
            {"role": message.role, "content": render(message.content, inputs)} for message in self.prompt.messages or ()
        ]

    def prompts(self, inputs: Sequence[Inputs]) -> list[str]:
        """CHAT, then the messages of each case and what else the chat template reads, as JSON."""
        values = {"chat_template_kwargs": dict(self.prompt.chat_template_kwargs)}
        return [CHAT + json.dumps({"messages": self.conversation(one), **values}, ensure_ascii=False) for one in inputs]


class Chat(Messages):
    """How a model's chat template writes `prompt.messages`.

    Args:
        template: the model's.
        prompt: the section; it has messages.
        others: chat templates that have to write the same prompts.
    """

    def __init__(self, template: Template, prompt: Prompt, others: Sequence[Template] = ()) -> None:
        super().__init__(prompt)
        self.template = template
        self.others = [other for other in others if _written_by(other) != _written_by(template)]

    def prompts(self, inputs: Sequence[Inputs]) -> list[str]:
        """The prompt of each case, up to where the assistant answers.

        Raises:
            TunediffError: the template refuses the messages, writes BOS twice or the date of the day, or not what
                the other templates write.
        """
        conversations = [self.conversation(one) for one in inputs]
        texts = self._rendered(self.template, conversations, generation=True)
        bos = self.template.tokenizer.bos_token
        if bos and any(text.startswith(CHAT + 2 * (MARK + bos)) for text in texts):
            raise TunediffError(
                f"{self.template.place}: the chat template writes BOS twice ({bos}{bos}), expected it once"
            )
        for other in self.others:
            for mine, theirs in zip(texts, self._rendered(other, conversations, generation=True), strict=True):
                if mine != theirs:
                    raise TunediffError(
                        f"{self.template.place} and {other.place}: their chat templates write different prompts "
                        f"({_where(mine, theirs)}); expected the same chat template for base and tuned model"
                    )
        return texts

    def turns(self, inputs: Sequence[Inputs], answers: Sequence[str]) -> list[Turn]:
        """What the template writes behind the prompt of each case where its answer is the assistant's turn.

        Raises:
            TunediffError: as `prompts`; or something else than the answer stands where the model is asked.
        """
        prompts = self.prompts(inputs)
        answered = [
            [*self.conversation(one), {"role": "assistant", "content": answer}]
            for one, answer in zip(inputs, answers, strict=True)
        ]
        texts = self._rendered(self.template, answered, generation=False)
        return [self._turn(*each) for each in zip(prompts, texts, answers, strict=True)]

    def tokens(self, turns: Conversation, generation: bool) -> list[int]:
        """A conversation as transformers itself renders and tokenises it: what everything else here is measured by.

        Args:
            turns: roles and contents.
            generation: whether the assistant is to answer.
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
        behind = text.removeprefix(prompt)
        for written in dict.fromkeys([answer, answer.strip()]):
            place = behind.find(written) if text.startswith(prompt) else -1
            if place >= 0 and not behind[:place].strip():
                end = re.match(rf"\s*(?:{self._spelled(MARK)})", behind[place + len(written) :])
                return Turn(behind[: place + len(written)], end[0] if end else "")
        known, found = _apart(text, prompt)
        where = (
            f"{self.template.place}: after a prompt the chat template writes {_shown(known)} where the answer is known"
        )
        if "think" in (known + found).lower():
            raise TunediffError(
                f"{where}, and {_shown(found)} where it is asked for: a thinking block that is there only once; "
                "expected none, or the same in both: see prompt.chat_template_kwargs"
            )
        if text.startswith(prompt):
            raise TunediffError(
                f"{where}, and nothing of it where it is asked for (add_generation_prompt); expected a "
                f"generation prompt that ends where the answer {shown(answer)} begins"
            )
        raise TunediffError(
            f"{where}, and {_shown(found)} where it is asked for; expected a prompt that the answer {shown(answer)} "
            "follows"
        )

    def _rendered(self, by: "Template", conversations: Sequence[Conversation], generation: bool) -> list[str]:
        """CHAT and the text of each conversation, with a mark before every special token that the template wrote."""
        spelled = self._spelled()
        marked = [
            [turn | {"content": re.sub(spelled, lambda match: MARK + match[0], turn["content"])} for turn in turns]
            for turns in conversations
        ]
        try:
            texts = by.tokenizer.apply_chat_template(
                marked, chat_template=by.text, add_generation_prompt=generation, tokenize=False, **self._kwargs()
            )
        # A template is a program from outside: it may fail in any way, and refuses roles by an error of its own.
        except Exception as error:
            raise TunediffError(_refused(by, error)) from None
        # What has a mark now is a case's, unless the template has cut it off: the mark changes sides.
        swapped = re.compile(f"{MARK}?(?:{spelled})|{MARK}")
        return [
            CHAT + swapped.sub(lambda match: match[0][1:] if match[0][0] == MARK else MARK + match[0], str(text))
            for text in texts
        ]

    def _kwargs(self) -> dict[str, Any]:
        return DEFAULTS | dict(self.prompt.chat_template_kwargs) | NO_CLOCK

    def _spelled(self, before: str = "") -> str:
        """A pattern of the special tokens as they are spelled, each with `before` before it."""
        return "|".join(before + re.escape(text) for text in control_tokens(self.template.tokenizer)) or "(?!)"


def _written_by(template: Template) -> tuple[str, Mapping[str, Any]]:
    """What the text of a prompt depends on besides the messages."""
    return template.text, template.tokenizer.special_tokens_map


def template_of(tokenizer: "PreTrainedTokenizerBase", place: str) -> Template:
    """The chat template of a tokenizer; of several, the default one.

    Args:
        tokenizer: of a model.
        place: the model's folder or id, for errors.

    Raises:
        TunediffError: it has none, or one that cannot be used.
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
    """Refuse a template or messages that spell a special token, which would be read as the letters that they are.

    Raises:
        TunediffError: they do.
    """
    spelled = special_tokens(tokenizer) if prompt.messages is None else control_tokens(tokenizer)
    for text in prompt.texts:
        for token in spelled:
            if len(token) > 1 and token in text:
                key = "template" if prompt.messages is None else "messages"
                hint = (
                    "a text without it, or prompt.messages, which the model's own chat template renders"
                    if prompt.messages is None
                    else "a text without it: the chat template places special tokens"
                )
                raise TunediffError(
                    f"params.yaml: prompt.{key}: found {token!r}, which is a special token of this model but would "
                    f"be read here as plain text; expected {hint}"
                )


def around_answers(chat: Chat) -> tuple[str, list[int]]:
    """What the chat template writes around an answer: blanks before it, and the id of the token that ends its turn.

    Neither where the template does not say.
    """
    answer = "Yes."
    try:
        [turn] = chat.turns([defaultdict(lambda: "x")], [answer])
    except TunediffError:
        return "", []
    ends = tokenise(chat.template.tokenizer, [CHAT + turn.end])[0][-1:] if turn.end else []
    return turn.answer.removesuffix(answer), ends


def _refused(by: Template, error: Exception) -> str:
    if "strftime_now" in by.text and "not callable" in str(error):
        return (
            f"{by.place}: the chat template writes the current date, so a case would have a different prompt tomorrow; "
            'expected a fixed date in prompt.chat_template_kwargs, such as {date_string: "26 Jul 2024"}'
        )
    return f"{by.place}: the chat template refuses prompt.messages: {one_line(error)}"


def _apart(first: str, second: str) -> tuple[str, str]:
    """What two texts go on with behind what they begin with alike."""
    place = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    return first[place:], second[place:]


def _where(mine: str, theirs: str) -> str:
    found, other = _apart(mine, theirs)
    return f"{_shown(found)} and {_shown(other)}"


def _shown(text: str) -> str:
    return shown(text.replace(CHAT, "").replace(MARK, "")[:40])
