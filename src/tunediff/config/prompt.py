"""How a case becomes the model's input."""

from typing import Any, Literal

from pydantic import Field

from tunediff.config.section import LabelName, Section, Whole, Word

# Arguments of transformers' apply_chat_template, and variables of the templates, that the renderer sets itself.
RENDERER_ARGUMENTS = frozenset(
    ["conversation", "conversations", "messages", "tools", "documents", "chat_template", "add_generation_prompt"]
    + ["continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length"]
    + ["return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "strftime_now"]
    + [f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask")]
)


class Message(Section):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="author of the turn")
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
        description="messages: variables of the chat template, such as enable_thinking; thinking is off by default",
    )
    choices: dict[LabelName, str] | None = Field(default=None, description="the answer text of each label")
    stop: list[Word] | None = Field(
        default=None,
        description="texts that end a generated answer, besides the end marker; none: the default of the task",
    )
    max_tokens: Whole | None = Field(default=None, ge=8, description="longest input; none: the model's context")
    too_long: Literal["refuse", "truncate"] = Field(
        default="refuse",
        description="a longer input stops the run, or loses the end of its longest field and is counted; a span head "
        "reads longer contexts in windows, so this concerns its questions only",
    )
    doc_stride: Whole = Field(
        default=128, ge=0, description="span: tokens of a long context that consecutive windows share"
    )

    @property
    def texts(self) -> list[str]:
        """The texts that name inputs in braces: the template, or the content of each message."""
        if self.messages is not None:
            return [message.content for message in self.messages]
        return [] if self.template is None else [self.template]
