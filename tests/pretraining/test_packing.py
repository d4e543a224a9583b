"""Packing loses no token, mixes no documents but in random pairs, and takes half of the pairs at random."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.pretraining.packing import document_pieces, sentence_pairs, sentences

LENGTHS = st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=8), min_size=2, max_size=5)


def documents_of(lengths):
    """Documents with sentences of these lengths; no token stands twice, so each tells where it comes from."""
    number = itertools.count()
    return [[[(next(number), True) for _ in range(length)] for length in document] for document in lengths]


def tokens_of(document):
    return [token for sentence in document for token in sentence]


@given(LENGTHS, st.integers(2, 40))
def test_pieces_hold_every_token_once_in_order_and_never_two_documents(lengths, room):
    documents = documents_of(lengths)
    pieces = list(document_pieces(documents, room))
    assert tokens_of(pieces) == [token for document in documents for token in tokens_of(document)]
    assert all(1 <= len(piece) <= room for piece in pieces)
    whole = [set(tokens_of(document)) for document in documents]
    assert all(any(set(piece) <= document for document in whole) for piece in pieces)


@given(st.lists(st.integers(1, 10), min_size=1, max_size=20), st.integers(10, 40))
def test_a_sentence_that_fits_is_never_divided_and_no_piece_could_hold_the_next_one(lengths, room):
    [document] = documents_of([lengths])
    pieces = list(document_pieces([document], room))
    starts = {sentence[0] for sentence in document}
    assert all(piece[0] in starts for piece in pieces)
    first = {sentence[0]: len(sentence) for sentence in document}
    assert all(len(a) + first[b[0]] > room for a, b in itertools.pairwise(pieces))


@given(LENGTHS, st.integers(2, 40), st.integers(0, 9))
def test_pairs_use_every_token_once_and_mix_documents_only_where_they_say_so(lengths, room, seed):
    documents = documents_of(lengths)
    pairs = list(sentence_pairs(documents, room, seed))
    own = [token for pair in pairs for token in (*pair.first, *(pair.second if pair.follows else ()))]
    assert own == [token for document in documents for token in tokens_of(document)]
    home = {token: at for at, document in enumerate(documents) for token in tokens_of(document)}
    for pair in pairs:
        assert pair.first
        assert pair.second
        assert len(pair.first) + len(pair.second) <= room
        places = {home[token] for token in pair.first}
        others = {home[token] for token in pair.second}
        assert len(places) == len(others) == 1
        assert (places == others) is pair.follows


@given(LENGTHS, st.integers(2, 40))
def test_pairs_are_the_same_for_the_same_seed(lengths, room):
    documents = documents_of(lengths)
    assert list(sentence_pairs(documents, room, 3)) == list(sentence_pairs(documents, room, 3))


@pytest.mark.parametrize("sentence", [4, 15, 200], ids=["short", "medium", "longer than a pair"])
def test_half_of_the_pairs_follow_and_random_parts_come_from_anywhere(sentence):
    documents = documents_of([[sentence] * 20] * 40)
    pairs = list(sentence_pairs(documents, room=61, seed=1))
    # A last single token cannot be divided, so a few more are random.
    assert sum(pair.follows for pair in pairs) / len(pairs) == pytest.approx(0.5, abs=0.04)
    starts = {token: at for document in documents for at, token in enumerate(part[0] for part in document)}
    drawn = [starts[pair.second[0]] for pair in pairs if not pair.follows]
    assert set(drawn) == set(range(20))


def test_a_random_part_is_not_told_by_its_length_or_its_end():
    rng = random.Random(1)
    documents = documents_of([[min(60, 3 + int(rng.expovariate(1 / 22))) for _ in range(100)] for _ in range(30)])
    pairs = list(sentence_pairs(documents, room=125, seed=1))
    ends = {sentence[-1] for document in documents for sentence in document}
    looks = {
        follows: [
            (len(pair.first) + len(pair.second), pair.second[-1] in ends) for pair in pairs if pair.follows is follows
        ]
        for follows in (True, False)
    }
    whole = {follows: sum(end for _, end in look) / len(look) for follows, look in looks.items()}
    length = {follows: sum(size for size, _ in look) / len(look) for follows, look in looks.items()}
    assert min(whole.values()) > 0.97
    assert length[True] == pytest.approx(length[False], rel=0.05)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("A title\nOne thing . Another ! A third ?\n", ["A title", "One thing .", "Another !", "A third ?"]),
        ("Pi is 3.14. It is.", ["Pi is 3.14.", "It is."]),
        ("  no end", ["no end"]),
        ("\n\n", []),
    ],
)
def test_a_document_is_divided_at_lines_and_at_the_ends_of_sentences(document, expected):
    assert sentences(document) == expected
