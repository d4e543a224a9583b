r"""Text to token ids, so that a special token is one that the renderer placed and never one that a case spells.

    encode_text(tokenizer, " </s>")                       # the letters "<", "/", "s", ">"
    encode_prompts(tokenizer, ["Is it raining?"])         # a BOS, where the tokenizer puts one, and the text
    encode_prompts(tokenizer, [CHAT + MARK + "<|im_start|>user\n..."])      # as a chat template wrote it: no other BOS

A text that starts with `CHAT` is of a chat template, which places every special token itself: each has a `MARK` before
it. The character is one that no case and no params.yaml may hold (`runtime.files.NOT_TEXT`).
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts that are tokenised at once: what a tokenizer says of them besides their ids takes more memory than these.
AT_ONCE = 1024
MARK = "\0"
CHAT = "\0chat\0"


class Tokenises(Protocol):
    """What prompts and answers are joined by: a tokenizer of transformers, or what a server has of one."""

    bos_token_id: Any

    def __call__(self, text: Any, /, **options: Any) -> Any:
        """Something with `input_ids`: of a list of texts a list for each; of an empty text what stands before texts."""

    def convert_ids_to_tokens(self, ids: Any, /) -> Any:
        """How tokens are spelled."""


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a text alone: no BOS, no EOS, and no special token even where the text spells one."""
    return tokenise(tokenizer, [text])[0]


def encode_prompts(tokenizer: Tokenises, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts that an answer follows: what stands before them, and the text."""
    tokens = tokenise(tokenizer, texts)
    return [start + ids for start, ids in zip(beginnings(tokenizer, texts), tokens, strict=True)]


def beginnings(tokenizer: Tokenises, texts: Sequence[str]) -> list[list[int]]:
    """What stands before each text: a BOS where the tokenizer puts one; nothing where a chat template has placed it."""
    start = [tokenizer.bos_token_id] if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else []
    return [[] if text.startswith(CHAT) else start for text in texts]


def tokenise(tokenizer: Tokenises, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts alone: no BOS, no EOS, and no special token but those with a mark in the text of a chat."""
    distinct = list(dict.fromkeys(texts))
    tokens: dict[str, list[int]] = {}
    for start in range(0, len(distinct), AT_ONCE):
        part = distinct[start : start + AT_ONCE]
        plain, chats = ([text for text in part if text.startswith(CHAT) == chat] for chat in (False, True))
        tokens |= zip(plain, _plain(tokenizer, plain), strict=True)
        if chats:
            marked, ids_of = _with_marks(cast("PreTrainedTokenizerBase", tokenizer))
            rows = _plain(marked, [text.removeprefix(CHAT) for text in chats])
            tokens |= zip(chats, ([ids_of.get(i, i) for i in row] for row in rows), strict=True)
    return [tokens[text] for text in texts]


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """How the special tokens are spelled."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return sorted({*added, *tokenizer.all_special_tokens})


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """How the tokens are spelled that only a chat template may place, longest first.

    The special ones, and those added ones that the template writes, such as `<think>`; what transformers calls so too.
    """
    template = str(tokenizer.chat_template or "")
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    written = [text for text in added if text in template and text.strip()]
    return sorted({*special_tokens(tokenizer), *written}, key=lambda text: (-len(text), text))


def _plain(tokenizer: Tokenises, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(
        texts, add_special_tokens=False, split_special_tokens=True, verbose=False
    ).input_ids
    return rows


@lru_cache(maxsize=2)
def _with_marks(tokenizer: "PreTrainedTokenizerBase") -> tuple["PreTrainedTokenizerBase", dict[int, int]]:
    """A tokenizer that knows control tokens with a mark before them and no others, and whose ids these stand for.

    The whole text is tokenised at once: what stands before and behind a special token is read as ever.
    """
    from tokenizers import AddedToken

    other = deepcopy(tokenizer)
    known = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    spelled = control_tokens(tokenizer)
    # One that is not special would be found also where a case spells it.
    other.add_tokens([AddedToken(text, special=True, normalized=False) for text in spelled], special_tokens=True)
    other.add_tokens(
        [
            AddedToken(
                MARK + text,
                lstrip=text in known and known[text].lstrip,
                rstrip=text in known and known[text].rstrip,
                normalized=False,
                special=False,
            )
            for text in spelled
        ]
    )
    ids: dict[Any, Any] = {
        other.convert_tokens_to_ids(MARK + text): tokenizer.convert_tokens_to_ids(text) for text in spelled
    }
    return other, ids
