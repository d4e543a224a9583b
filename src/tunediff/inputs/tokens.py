r"""Tokenize text such that special tokens come only from the renderer and never from the text of a case.

    encode_text(tokenizer, " </s>")                       # the letters "<", "/", "s", ">"
    encode_prompts(tokenizer, ["Is it raining?"])         # a BOS, if the tokenizer adds one, and the text
    encode_prompts(tokenizer, [CHAT + MARK + "<|im_start|>user\n..."])      # from a chat template: no further BOS

A text that starts with `CHAT` was rendered by a chat template, which places all special tokens; each is preceded by a
`MARK`. No case and no params.yaml may contain this character (`runtime.files.NOT_TEXT`).
"""

from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Texts to tokenize at a time: tokenizers return much more than the ids, which takes memory.
BATCH = 1024
MARK = "\0"
CHAT = "\0chat\0"


class TokenizerLike(Protocol):
    """The part of a tokenizer that joining prompts and answers needs; also implemented for servers."""

    bos_token_id: Any

    def __call__(self, text: Any, /, **options: Any) -> Any:
        """Return an object with `input_ids`: a row per text of a list; for an empty text, the ids before every text."""

    def convert_ids_to_tokens(self, ids: Any, /) -> Any:
        """Return the texts of tokens."""


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Return the token ids of a text without BOS, EOS or any other special token, even if the text spells one."""
    return tokenize(tokenizer, [text])[0]


def encode_prompts(tokenizer: TokenizerLike, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of prompts, including a BOS if the tokenizer adds one."""
    tokens = tokenize(tokenizer, texts)
    return [start + ids for start, ids in zip(beginnings(tokenizer, texts), tokens, strict=True)]


def beginnings(tokenizer: TokenizerLike, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids before each text: a BOS if the tokenizer adds one, none if a chat template rendered the text."""
    start = [tokenizer.bos_token_id] if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else []
    return [[] if text.startswith(CHAT) else start for text in texts]


def tokenize(tokenizer: TokenizerLike, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts without BOS or EOS; the only special tokens are marked ones in a chat."""
    distinct = list(dict.fromkeys(texts))
    tokens: dict[str, list[int]] = {}
    for start in range(0, len(distinct), BATCH):
        part = distinct[start : start + BATCH]
        plain, chats = ([text for text in part if text.startswith(CHAT) == chat] for chat in (False, True))
        tokens |= zip(plain, _plain(tokenizer, plain), strict=True)
        if chats:
            marked, ids_of = _with_marks(cast("PreTrainedTokenizerBase", tokenizer))
            rows = _plain(marked, [text.removeprefix(CHAT) for text in chats])
            tokens |= zip(chats, ([ids_of.get(i, i) for i in row] for row in rows), strict=True)
    return [tokens[text] for text in texts]


def common_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the length of the common prefix of two sequences of the same type."""
    if second[: len(first)] == first:
        return len(first)
    shorter = min(len(first), len(second))
    return next((place for place in range(shorter) if first[place] != second[place]), shorter)


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return the texts of the special tokens."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return sorted({*added, *tokenizer.all_special_tokens})


def control_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Return the texts of the tokens that only a chat template may place, longest first.

    These are the special tokens and the added tokens that occur in the template, such as `<think>`.
    """
    template = str(tokenizer.chat_template or "")
    added = [token.content for token in tokenizer.added_tokens_decoder.values()]
    written = [text for text in added if text in template and text.strip()]
    return sorted({*special_tokens(tokenizer), *written}, key=lambda text: (-len(text), text))


def _plain(tokenizer: TokenizerLike, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    rows: list[list[int]] = tokenizer(
        texts, add_special_tokens=False, split_special_tokens=True, verbose=False
    ).input_ids
    return rows


@lru_cache(maxsize=2)
def _with_marks(tokenizer: "PreTrainedTokenizerBase") -> tuple["PreTrainedTokenizerBase", dict[int, int]]:
    """A tokenizer that recognizes control tokens only with a mark before them, and the original ids of its tokens.

    With it, a text is tokenized as a whole, so that the text around a special token is read as by the original.
    """
    from tokenizers import AddedToken

    marked = deepcopy(tokenizer)
    known = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    spelled = control_tokens(tokenizer)
    # A token that is not special would be found in the text of a case, too.
    marked.add_tokens([AddedToken(text, special=True, normalized=False) for text in spelled], special_tokens=True)
    marked.add_tokens(
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
        marked.convert_tokens_to_ids(MARK + text): tokenizer.convert_tokens_to_ids(text) for text in spelled
    }
    return marked, ids
