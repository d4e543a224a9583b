"""Documents in windows: the same as transformers', and every token's characters are those of the context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.questions import CASES, PARK, question
from tests.tiny import small_bert_tokenizer, small_tokenizer
from tunediff.config.prompt import Prompt
from tunediff.inputs.windows import read_documents
from tunediff.runtime.errors import TunediffError

BERT, BPE = small_bert_tokenizer(), small_tokenizer()
TOKENIZERS = {"pair": BERT, "text": BPE}


def read(tokenizer, cases, max_tokens=512, doc_stride=4, **keys):
    return read_documents(tokenizer, cases, Prompt(max_tokens=max_tokens, doc_stride=doc_stride, **keys), 512)


@pytest.mark.parametrize(("max_tokens", "doc_stride"), [(24, 0), (24, 5), (30, 10), (45, 16), (512, 128)])
def test_windows_are_those_that_transformers_makes(max_tokens, doc_stride):
    for case, document in zip(CASES, read(BERT, CASES, max_tokens, doc_stride), strict=True):
        rows = BERT(
            case.inputs["question"],
            case.inputs["context"],
            truncation="only_second",
            max_length=max_tokens,
            stride=doc_stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        assert [window.tokens for window in document.windows] == rows["input_ids"]
        assert [window.token_types for window in document.windows] == rows["token_type_ids"]
        for i, window in enumerate(document.windows):
            places = [place for place, text in enumerate(rows.sequence_ids(i)) if text == 1]
            assert window.first == places[0]
            assert window.offsets == [tuple(rows["offset_mapping"][i][place]) for place in places]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_characters_of_a_token_are_what_it_says(name):
    for case, document in zip(CASES, read(TOKENIZERS[name], CASES, 60, 5), strict=True):
        for window in document.windows:
            tokens = window.tokens[window.first : window.first + len(window.offsets)]
            for token, (start, end) in zip(tokens, window.offsets, strict=True):
                said = TOKENIZERS[name].decode([token]).strip().removeprefix("##")
                assert case.inputs["context"][start:end].lower() == said.lower()


@pytest.mark.parametrize("name", TOKENIZERS)
@given(
    words=st.lists(st.sampled_from(["man", "dogs", "é", "☂x", "  ", "\n", "two", "zzz", "!", "的"]), min_size=1),
    max_tokens=st.integers(40, 90),
    doc_stride=st.integers(0, 12),
)
def test_windows_cover_the_context_and_share_what_was_asked_for(name, words, max_tokens, doc_stride):
    context = f"{' '.join(words)} end"
    [whole] = read(TOKENIZERS[name], [question(0, "Who?", context)], 512)[0].windows
    [document] = read(TOKENIZERS[name], [question(0, "Who?", context)], max_tokens, doc_stride)
    together = list(document.windows[0].offsets)
    for before, window in zip(document.windows, document.windows[1:], strict=False):
        assert len(before.tokens) == max_tokens
        assert window.offsets[:doc_stride] == before.offsets[len(before.offsets) - doc_stride :]
        together += window.offsets[doc_stride:]
        assert window.tokens[: window.first] == before.tokens[: before.first]
        assert len(window.offsets) > doc_stride
    assert together == whole.offsets
    assert document.n_tokens == len(whole.tokens)
    # What stands in the context and is no white space belongs to a token.
    held = {at for start, end in whole.offsets for at in range(start, end)}
    assert {at for at, letter in enumerate(context) if not letter.isspace()} <= held


def test_a_text_without_a_pair_form_has_one_bos_and_the_question_on_a_line_of_its_own():
    [document] = read(BPE, CASES[:1])
    [window] = document.windows
    assert BPE.decode(window.tokens) == f"<s>Where is the man?\n{PARK}"
    assert window.tokens.count(BPE.bos_token_id) == 1
    assert BPE.decode(window.tokens[: window.first]) == "<s>Where is the man?\n"
    assert window.token_types is None


@pytest.mark.parametrize("name", TOKENIZERS)
def test_text_that_spells_a_special_token_stays_text(name):
    [document] = read(TOKENIZERS[name], [question(0, "Who [SEP] <s>?", "A man </s> [SEP] [CLS] walks.", "walks")])
    [window] = document.windows
    special = {"pair": [2, 3], "text": [1, 2]}[name]
    assert [window.tokens.count(i) for i in special] == {"pair": [1, 2], "text": [1, 0]}[name]


def test_a_long_question_stops_the_run_or_loses_its_end_and_never_its_context():
    long = question(7, "Where is the man who is feeding the two dogs that are running after a ball?", PARK, "A woman")
    cases = [CASES[0], long]
    with pytest.raises(TunediffError) as caught:
        read(BERT, cases, 24, 8)
    [line] = caught.value.args
    assert line.startswith(f"case {long.case_id}: found 29 tokens besides the context")
    assert "expected at most 15 (" in line
    assert "prompt.doc_stride" in line
    short, cut = read(BERT, cases, 24, 8, too_long="truncate")
    assert (short.truncated, cut.truncated) == (False, True)
    assert {window.first <= 15 for window in cut.windows} == {True}
    assert cut.windows[0].tokens[:10] == read(BERT, [long])[0].windows[0].tokens[:10]
    assert [window.offsets[-1] for window in cut.windows][-1] == (len(PARK) - 1, len(PARK))
    assert cut.prompt_hash != read(BERT, [long])[0].prompt_hash


def test_the_hash_follows_the_windows_that_are_read_and_no_length_where_nothing_is_cut():
    [whole], [same], [stride] = (read(BERT, CASES[:1], *lengths) for lengths in ((512, 4), (256, 4), (512, 9)))
    assert len(whole.windows) == 1
    assert whole.prompt_hash == same.prompt_hash == stride.prompt_hash
    cut = [read(BERT, CASES[:1], *lengths)[0] for lengths in ((24, 4), (24, 5), (26, 4))]
    assert min(len(one.windows) for one in cut) > 1
    assert len({whole.prompt_hash, *(one.prompt_hash for one in cut)}) == 4


def test_a_long_question_is_left_whole_where_all_of_it_fits_with_its_context():
    case = question(7, "Where is the man who is feeding the two dogs in the park?", "Nobody.", "Nobody")
    [document] = read(BERT, [case], 26, 20)
    assert len(document.windows) == 1
    assert not document.truncated


def test_a_tokenizer_that_does_not_know_places_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(TunediffError, match="found Slow, which does not report token offsets"):
        read(Slow(), CASES)
