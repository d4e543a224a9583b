"""How a case becomes the model's input."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from tunediff.config.section import LabelName, Section, Whole

# What transformers' apply_chat_template and the templates themselves are given by the renderer.
TAKEN = frozenset(
    ["conversation", "conversations", "messages", "tools", "documents", "chat_template", "add_generation_prompt"]
    + ["continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length"]
    + ["return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "strftime_now"]
    + [f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]
)


class Message(Section):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="who says it")
    content: str = Field(description="text with {input} names")


class Prompt(Section):
    """How a case becomes the model's input, in training and in both evaluations."""

    template: str | None = Field(
        default=None, description="text with {input} names; none: the tokenizer's own (pair) form, for heads"
    )
    messages: list[Message] | None = Field(
        default=None,
        min_length=1,
        description="in place of template: turns of a conversation, each a role (system, user, assistant) and a "
        "content with {input} names, the last one the user's; the model's own chat template renders them",
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default={},
        description="messages: values that the chat template reads, such as enable_thinking; thinking is off unless "
        "they say otherwise",
    )
    choices: dict[LabelName, str] | None = Field(default=None, description="the answer text of each label")
    max_tokens: Whole | None = Field(default=None, ge=8, description="longest input; none: the model's context")
    too_long: Literal["refuse", "truncate"] = Field(
        default="refuse",
        description="a longer input stops the run, or loses the end of its longest field and is counted; a span head "
        "reads a longer context in windows, so this is of its questions alone",
    )
    doc_stride: Whole = Field(
        default=128, ge=0, description="span: tokens of a long context that a window has in common with the one before"
    )

    @property
    def texts(self) -> list[str]:
        """The template, or the content of each message: what names inputs in braces."""
        if self.messages is not None:
            return [message.content for message in self.messages]
        return [] if self.template is None else [self.template]

    def _contradictions(self) -> Iterator[str]:
        if self.chat_template_kwargs and self.messages is None:
            yield "prompt.chat_template_kwargs is given, but prompt.messages is missing; expected both or neither"
        for name in sorted(TAKEN & self.chat_template_kwargs.keys()):
            yield f"prompt.chat_template_kwargs: found {name}, which the renderer sets itself, expected other names"
        if self.messages is None:
            return
        if self.template is not None:
            yield "prompt.template and prompt.messages are both given, expected one of them"
        roles = [message.role for message in self.messages]
        if roles[-1] != "user":
            yield f"prompt.messages: found {roles[-1]} as the role of the last one, expected user: the model answers it"
        if "system" in roles[1:]:
            yield "prompt.messages: found a system message that is not the first, expected it there"
        for label, text in (self.choices or {}).items():
            if text != text.strip():
                yield (
                    f"prompt.choices.{label}: found {text!r}, whose blanks no chat model writes at the ends of its "
                    f"turn, expected {text.strip()!r}"
                )
