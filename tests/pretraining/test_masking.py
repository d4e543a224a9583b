"""Masks as BERT's: statistics of transformers' own collator, whole words together, the same where they must be."""

from collections import Counter

import pytest
import torch
from transformers import DataCollatorForLanguageModeling

from tests.tiny import SENTENCES, small_bert_tokenizer, small_tokenizer
from tunediff.pretraining.masking import EncoderRow, encoder_rows, marks_of, mask_row, pad_masked
from tunediff.runtime.errors import TunediffError
from tunediff.training.loss import IGNORED

TOKENIZER = small_bert_tokenizer()
MARKS = marks_of(TOKENIZER)
PAD, UNK, CLS, SEP, MASK = range(5)
N = 40_000


def long_row(words=1):
    """A row of N tokens; a word has so many of them."""
    numbers = [number // words for number in range(N)]
    tokens = [5 + number % (MARKS.vocab_size - 5) for number in range(N)]
    return EncoderRow([CLS, *tokens, SEP], [-1, *numbers, -1], None, None)


def draw(seed):
    return torch.Generator().manual_seed(seed)


def shares(tokens, labels, original):
    """Shares of the tokens that are chosen, and of the chosen ones that are masked, replaced and left."""
    chosen = labels != IGNORED
    masked, left = tokens == MASK, tokens == original
    n = int(chosen.sum())
    return [n / (len(tokens) - 2), *(int((chosen & kind).sum()) / n for kind in (masked, ~masked & ~left, left))]


def test_as_many_tokens_are_chosen_masked_replaced_and_left_as_transformers_own_collator_takes():
    row = long_row()
    original = torch.tensor(row.tokens)
    masked = mask_row(row, MARKS, 0.15, False, draw(1))
    torch.manual_seed(1)
    theirs = DataCollatorForLanguageModeling(TOKENIZER, mlm_probability=0.15)([{"input_ids": row.tokens}])
    ours_, theirs_ = (
        shares(masked.tokens, masked.labels, original),
        shares(theirs["input_ids"][0], theirs["labels"][0], original),
    )
    assert ours_ == pytest.approx(theirs_, abs=0.015)
    assert ours_ == pytest.approx([0.15, 0.8, 0.1, 0.1], abs=0.015)


def test_what_is_not_chosen_stays_and_what_is_chosen_is_asked_for():
    row = long_row()
    tokens, original = mask_row(row, MARKS, 0.15, False, draw(1))[0], torch.tensor(row.tokens)
    labels = mask_row(row, MARKS, 0.15, False, draw(1)).labels
    chosen = labels != IGNORED
    assert torch.equal(tokens[~chosen], original[~chosen])
    assert torch.equal(labels[chosen], original[chosen])


def test_special_and_unknown_tokens_are_never_chosen():
    row = EncoderRow([CLS, 7, UNK, 8, SEP], [-1, 0, -1, 2, -1], None, None)
    labels = mask_row(row, MARKS, 0.999999, False, draw(1)).labels
    assert labels.tolist() == [IGNORED, 7, IGNORED, 8, IGNORED]


def test_whole_words_are_chosen_together_and_as_often():
    row = long_row(words=4)
    labels = mask_row(row, MARKS, 0.15, True, draw(1)).labels[1:-1]
    words = (labels != IGNORED).view(-1, 4)
    assert set(words.sum(1).tolist()) == {0, 4}
    assert words.float().mean() == pytest.approx(0.15, abs=0.01)
    single = mask_row(row, MARKS, 0.15, False, draw(1)).labels[1:-1]
    assert set((single != IGNORED).view(-1, 4).sum(1).tolist()) >= {0, 1, 2}


def test_a_generator_draws_the_same_masks_again_and_the_next_ones_differ():
    row = long_row()
    generator = draw(1)
    first, second, again = (mask_row(row, MARKS, 0.15, False, one) for one in (generator, generator, draw(1)))
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.labels, second.labels)


# Rows


def test_a_pair_reads_as_bert_reads_two_sentences():
    whole = TOKENIZER("one man.", "two dogs.", split_special_tokens=True)
    rows = [
        row for seed in range(9) for row in encoder_rows(["One man. Two dogs."] * 2, TOKENIZER, 64, seed, pairs=True)
    ]
    row = next(row for row in rows if row.tokens == whole.input_ids and row.follows)
    assert row.types == whole.token_type_ids
    assert [token for token, word in zip(row.tokens, row.words, strict=True) if word < 0] == [CLS, SEP, SEP]


def test_words_are_numbered_so_that_pieces_of_one_stay_together():
    [row] = encoder_rows(["zzz man"], TOKENIZER, 64, 0, pairs=False)
    assert TOKENIZER.convert_ids_to_tokens(row.tokens) == ["[CLS]", "z", "##z", "##z", "man", "[SEP]"]
    assert row.words == [-1, 0, 0, 0, 1, -1]
    assert row.types is None


def test_no_row_is_longer_than_asked_and_all_text_is_there():
    texts = [" ".join(SENTENCES), " ".join(reversed(SENTENCES)) + "\n" + SENTENCES[0]]
    ids = [TOKENIZER(text.replace("\n", " "), add_special_tokens=False).input_ids for text in texts]
    for pairs in (False, True):
        rows = encoder_rows(texts, TOKENIZER, 16, 1, pairs=pairs)
        assert max(len(row.tokens) for row in rows) <= 16
        assert all(len(row.tokens) == len(row.words) for row in rows)
        ends = [[at for at, token in enumerate(row.tokens) if token == SEP] for row in rows]
        own = [
            token
            for row, end in zip(rows, ends, strict=True)
            for token in row.tokens[1 : end[0] if row.follows is False else None]
            if token != SEP
        ]
        assert own == [token for one in ids for token in one]


def test_wikitexts_unknown_word_is_the_unknown_token_and_any_other_special_token_is_text():
    [row] = encoder_rows(["a <unk> man [MASK] [SEP]"], TOKENIZER, 64, 0, pairs=False)
    assert row.tokens.count(UNK) == 1
    assert row.words[row.tokens.index(UNK)] == -1
    assert MASK not in row.tokens
    assert row.tokens.count(SEP) == 1
    assert row.tokens[1:4] == [
        TOKENIZER.convert_tokens_to_ids("a"),
        UNK,
        TOKENIZER.convert_tokens_to_ids("man"),
    ]


def test_a_batch_is_padded_where_nothing_is_read_or_asked():
    rows = encoder_rows([" ".join(SENTENCES), SENTENCES[0] + " " + SENTENCES[2]], TOKENIZER, 24, 1, pairs=True)
    masked = [mask_row(row, MARKS, 0.5, False, draw(1)) for row in rows]
    batch = pad_masked(masked, PAD)
    width = max(len(row.tokens) for row in rows)
    assert {tuple(values.shape) for name, values in batch.items() if name != "next_sentence_label"} == {
        (len(rows), width)
    }
    for number, row in enumerate(rows):
        n = len(row.tokens)
        assert batch["attention_mask"][number].tolist() == [1] * n + [0] * (width - n)
        assert batch["token_type_ids"][number].tolist() == row.types + [0] * (width - n)
        assert set(batch["labels"][number, n:].tolist()) <= {IGNORED}
        assert set(batch["input_ids"][number, n:].tolist()) <= {PAD}
        assert batch["next_sentence_label"][number] == (0 if row.follows else 1)


def test_replacements_are_drawn_from_the_whole_vocabulary():
    row = long_row()
    masked = mask_row(row, MARKS, 0.999999, False, draw(1))
    original = torch.tensor(row.tokens)
    replaced = masked.tokens[(masked.tokens != original) & (masked.tokens != MASK)].tolist()
    counts = Counter(replaced)
    assert len(counts) > 0.95 * MARKS.vocab_size
    assert max(counts.values()) < 4 * len(replaced) / MARKS.vocab_size


def test_a_tokenizer_without_a_mask_is_one_line():
    with pytest.raises(TunediffError, match=r"pretrain\.tokenizer: found no cls, sep, mask, unk token"):
        marks_of(small_tokenizer())
