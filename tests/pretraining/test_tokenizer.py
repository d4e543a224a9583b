"""Tokenizers trained on a text have BERT's rules and the same vocabulary in every run."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import BertPreTokenizer

from tests.imports import ROOT
from tests.tiny import SENTENCES, small_bert_tokenizer
from tunediff.config.pretrain import Tokenizer
from tunediff.pretraining.tokenizer import load_tokenizer, train_wordpiece
from tunediff.runtime.errors import TunediffError

WORDPIECE = train_wordpiece(SENTENCES * 3, vocab_size=320, context=48)
CODE = """
import json, sys
from tunediff.pretraining.tokenizer import train_wordpiece
print(json.dumps(train_wordpiece(json.load(sys.stdin), 300, 48).get_vocab()))
"""


def test_berts_special_tokens_come_first_and_frame_a_text():
    assert WORDPIECE.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert WORDPIECE.special_tokens_map == {
        **{"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"},
        **{"sep_token": "[SEP]", "mask_token": "[MASK]"},
    }
    pair = WORDPIECE("two dogs", "a ball")
    assert WORDPIECE.decode(pair.input_ids) == "[CLS] two dogs [SEP] a ball [SEP]"
    assert pair.token_type_ids == [0, 0, 0, 0, 1, 1, 1]


def test_it_is_uncased_as_large_as_asked_and_has_words_for_its_own_text():
    assert len(WORDPIECE) <= 320
    assert WORDPIECE.model_max_length == 48
    assert WORDPIECE("Two Dögs").input_ids == WORDPIECE("two dogs").input_ids
    words = [word for text in SENTENCES for word, _ in BertPreTokenizer().pre_tokenize_str(text.lower())]
    assert sum(len(WORDPIECE.tokenize(text)) for text in SENTENCES) == len(words)


def test_a_letter_that_the_text_has_not_makes_a_word_unknown():
    assert WORDPIECE.tokenize("dogs д") == ["dogs", "[UNK]"]


@given(st.text(alphabet="adefgiklmnoprstu ", max_size=30))
def test_words_of_known_letters_can_be_written_and_read_back(text):
    known = {piece.removeprefix("##") for piece in WORDPIECE.get_vocab() if len(piece.removeprefix("##")) == 1}
    inner = {piece[2:] for piece in WORDPIECE.get_vocab() if piece.startswith("##")}
    ids = WORDPIECE(text, add_special_tokens=False).input_ids
    words = text.split()
    if all(word[0] in known and set(word[1:]) <= inner for word in words):
        assert WORDPIECE.decode(ids) == " ".join(words)


@pytest.mark.pipeline
def test_the_same_text_gives_the_same_numbers_in_every_process():
    # The library numbers letters inside of words in the order of a hash table, which differs from run to run.
    texts = [f"{a} {b}" for a in SENTENCES for b in SENTENCES]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", CODE]
    other = subprocess.run(
        command, input=json.dumps(texts), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    assert json.loads(other.stdout) == train_wordpiece(texts, 300, 48).get_vocab()


def test_the_tokenizer_of_a_folder_is_taken_for_sequences_of_the_length_asked(tmp_path):
    small_bert_tokenizer().save_pretrained(tmp_path)
    taken = load_tokenizer(Tokenizer(source="folder", id=str(tmp_path)), 77)
    assert taken.model_max_length == 77
    assert taken.get_vocab() == small_bert_tokenizer().get_vocab()


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path):
    for folder, words in ((tmp_path, "cannot be loaded"), (tmp_path / "none", "there is no folder")):
        with pytest.raises(TunediffError, match=words) as caught:
            load_tokenizer(Tokenizer(source="folder", id=str(folder)), 77)
        assert len(caught.value.args) == 1
        assert "\n" not in caught.value.args[0]
