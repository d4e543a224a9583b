"""Pack documents into training sequences without losing tokens.

    pairs = sentence_pairs(documents, room=125, seed=1)     # for next-sentence prediction
    pieces = document_pieces(documents, room=126)           # for layouts without it

A document is a list of sentences, a sentence a list of tokens. Packing follows BERT's create_pretraining_data.py with
three differences: tokens that overflow go into the next sequence instead of being cut off; a sequence of a single
sentence is split inside it instead of always getting a random second part; and no sequences are short on purpose
(short_seq_prob), because the last one of each document is.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from random import Random
from typing import NamedTuple

# A token's id, and whether it starts a word.
Token = tuple[int, bool]
Sentence = list[Token]


class Pair(NamedTuple):
    """Two parts of text, and whether the second follows the first in its document."""

    first: Sentence
    second: Sentence
    follows: bool


def sentences(document: str) -> list[str]:
    """Split a document into sentences, between which it may be divided.

    A sentence ends at the end of a line, and at a full stop, question mark or exclamation mark before a space, even in
    an abbreviation.
    """
    return [part for line in document.split("\n") for part in re.split(r"(?<=[.!?])\s+", line.strip()) if part]


def document_pieces(documents: Sequence[Sequence[Sentence]], room: int) -> Iterator[Sentence]:
    """Split documents into pieces of at most `room` tokens, with as many whole sentences as fit."""
    for document in documents:
        waiting = deque(document)
        while waiting:
            yield _joined(_fill(waiting, room))


def sentence_pairs(documents: Sequence[Sequence[Sentence]], room: int, seed: int) -> Iterator[Pair]:
    """Iterate over pairs of at most `room` tokens; with probability 0.5 the second part is from another document.

    Each token of each document is in exactly one first part or following second part; sentences that a random second
    part displaces start the next pair.

    Args:
        documents: at least two documents, none of them empty.
        room: maximum number of tokens of a pair, at least 2.
        seed: seed of the random numbers.
    """
    rng = Random(f"{seed} pairs")
    for at, document in enumerate(documents):
        waiting = deque(document)
        while waiting:
            chunk = _fill(waiting, room)
            follows = rng.random() < 0.5
            if len(chunk) == 1 and len(chunk[0]) > 1:
                middle = rng.randrange(1, len(chunk[0]))
                chunk = [chunk[0][:middle], chunk[0][middle:]]
            cut = rng.randrange(1, len(chunk)) if len(chunk) > 1 else 1
            first, second = _joined(chunk[:cut]), chunk[cut:]
            if follows and second:
                yield Pair(first, _joined(second), True)
            else:
                waiting.extendleft(reversed(second))
                random_document = documents[(at + rng.randrange(1, len(documents))) % len(documents)]
                yield Pair(first, _excerpt(random_document, room - len(first), rng), False)


def _fill(waiting: deque[Sentence], room: int) -> list[Sentence]:
    """Take the sentences that fit from the front; if the first one is longer than the room, take its beginning."""
    chunk: list[Sentence] = []
    while waiting and len(waiting[0]) <= room:
        chunk.append(waiting.popleft())
        room -= len(chunk[-1])
    if not chunk:
        long = waiting.popleft()
        waiting.appendleft(long[room:])
        chunk.append(long[:room])
    return chunk


def _excerpt(document: Sequence[Sentence], room: int, rng: Random) -> Sentence:
    """Take whole sentences from a random start, as many as fit, so that the part looks like one that follows.

    If no sentence at ten random starts fits, take the beginning of the last one.
    """
    start = 0
    for _ in range(10):
        start = rng.randrange(len(document))
        if len(document[start]) <= room:
            break
    return _joined(_fill(deque(document[start : start + room]), room))


def _joined(parts: Sequence[Sentence]) -> Sentence:
    return list(chain.from_iterable(parts))
