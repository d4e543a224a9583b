"""Masked rows for an encoder: [CLS] first [SEP] second [SEP], with the tokens to predict.

    rows = encoder_rows(texts, tokenizer, max_tokens=128, seed=1, pairs=True)
    masked = mask_row(rows[0], marks_of(tokenizer), share=0.15, whole_words=False, generator=None)
    batch = pad_masked([masked, ...], pad=tokenizer.pad_token_id)

Masks of training rows are drawn again in every epoch, those of validation rows once.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from tunediff.pretraining.packing import Sentence, document_pieces, sentence_pairs, sentences
from tunediff.pretraining.texts import UNKNOWN
from tunediff.runtime.errors import TunediffError
from tunediff.training.loss import IGNORED

if TYPE_CHECKING:
    from torch import Generator, Tensor
    from transformers import PreTrainedTokenizerBase

# Shares of the chosen tokens that are masked and that are replaced by a random token (Devlin et al. 2019, "BERT",
# section 3.1).
MASKED, REPLACED = 0.8, 0.1


class Marks(NamedTuple):
    """The special tokens of rows, and the size of the vocabulary."""

    start: int
    end: int
    mask: int
    vocab_size: int


class EncoderRow(NamedTuple):
    """A row before it is masked."""

    tokens: list[int]
    words: list[int]  # index of the word of each token, from 0; -1 for tokens that are never predicted
    types: list[int] | None  # 0 in the first part and 1 in the second; None without a second part
    follows: bool | None  # whether the second part follows the first


class MaskedRow(NamedTuple):
    """A row as the model reads it, and the tokens to predict, `IGNORED` elsewhere."""

    tokens: "Tensor"
    labels: "Tensor"
    types: list[int] | None
    follows: bool | None


def marks_of(tokenizer: "PreTrainedTokenizerBase") -> Marks:
    """Return the special tokens of an encoder's rows.

    Raises:
        TunediffError: the tokenizer lacks one of them.
    """
    found = {name: getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "mask", "pad", "unk")}
    if missing := [name for name, value in found.items() if value is None]:
        raise TunediffError(
            f"params.yaml: pretrain.tokenizer: found no {', '.join(missing)} token, expected an encoder's tokenizer"
        )
    return Marks(found["cls"], found["sep"], found["mask"], len(tokenizer))


def encoder_rows(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_tokens: int, seed: int, *, pairs: bool
) -> list[EncoderRow]:
    """Split documents into rows of at most `max_tokens` tokens: pairs for next-sentence prediction, or pieces."""
    marks, documents = marks_of(tokenizer), _encoded(texts, tokenizer)
    if pairs:
        return [
            _row([pair.first, pair.second], pair.follows, marks, tokenizer.unk_token_id)
            for pair in sentence_pairs(documents, max_tokens - 3, seed)
        ]
    return [_row([piece], None, marks, tokenizer.unk_token_id) for piece in document_pieces(documents, max_tokens - 2)]


def _encoded(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[list[Sentence]]:
    """Documents as sentences of tokens. WikiText's `<unk>` is the unknown token; any other special token is text."""
    split = [[sentence.split(UNKNOWN) for sentence in sentences(text)] for text in texts]
    flat = [part for document in split for parts in document for part in parts]
    encoding = tokenizer(flat, add_special_tokens=False, split_special_tokens=True)
    encoded = iter(
        [
            (token, at == 0 or words[at] != words[at - 1])
            for words in [encoding.word_ids(number)]
            for at, token in enumerate(ids)
        ]
        for number, ids in enumerate(encoding.input_ids)
    )
    return [found for document in split if (found := list(_sentences(document, encoded, tokenizer.unk_token_id)))]


def _sentences(document: list[list[str]], encoded: Iterator[Sentence], unknown: int) -> Iterator[Sentence]:
    for parts in document:
        sentence = next(encoded)
        for _ in parts[1:]:
            sentence = [*sentence, (unknown, True), *next(encoded)]
        if sentence:
            yield sentence


def _row(parts: Sequence[Sentence], follows: bool | None, marks: Marks, unknown: int) -> EncoderRow:
    tokens, words, types, word = [marks.start], [-1], [0], -1
    for number, part in enumerate(parts):
        for at, (token, starts) in enumerate(part):
            word += starts or at == 0
            tokens.append(token)
            words.append(-1 if token == unknown else word)
        tokens.append(marks.end)
        words.append(-1)
        types += [number] * (len(tokens) - len(types))
    return EncoderRow(tokens, words, types if len(parts) > 1 else None, follows)


def mask_row(
    row: EncoderRow, marks: Marks, share: float, whole_words: bool, generator: "Generator | None" = None
) -> MaskedRow:
    """Choose tokens to predict: 80 % are masked, 10 % replaced by a random token, 10 % left unchanged.

    Args:
        row: the row; its special and unknown tokens are never chosen.
        marks: the special tokens.
        share: probability of a token, or of a word, to be chosen.
        whole_words: whether all tokens of a word are chosen together.
        generator: generator of the random numbers; None: torch's default, whose state is saved in checkpoints.
    """
    tokens, words = torch.tensor(row.tokens), torch.tensor(row.words)
    n = len(tokens)
    drawn = torch.rand(n, generator=generator) < share
    chosen = (drawn[words] if whole_words else drawn) & (words >= 0)
    how = torch.rand(n, generator=generator)
    anything = torch.randint(marks.vocab_size, (n,), generator=generator)
    hidden = torch.where(how < MASKED, marks.mask, torch.where(how < MASKED + REPLACED, anything, tokens))
    return MaskedRow(torch.where(chosen, hidden, tokens), torch.where(chosen, tokens, IGNORED), row.types, row.follows)


def pad_masked(rows: Sequence[MaskedRow], pad: int) -> dict[str, "Tensor"]:
    """Pad rows on the right to a batch.

    Returns:
        input_ids, attention_mask and labels; for pairs also token_type_ids and next_sentence_label (0: the second part
        follows the first, as in BERT).
    """
    from torch.nn.utils.rnn import pad_sequence

    def padded(values: list["Tensor"], filler: int) -> "Tensor":
        return pad_sequence(values, batch_first=True, padding_value=filler)

    batch = {
        "input_ids": padded([row.tokens for row in rows], pad),
        "attention_mask": padded([torch.ones_like(row.tokens) for row in rows], 0),
        "labels": padded([row.labels for row in rows], IGNORED),
    }
    types = [torch.tensor(row.types) for row in rows if row.types is not None]
    if types:
        batch["token_type_ids"] = padded(types, 0)
        batch["next_sentence_label"] = torch.tensor([int(not row.follows) for row in rows])
    return batch
