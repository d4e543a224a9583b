"""Documents packed into training sequences: no token is lost, and a document meets another as a random one alone.

    pairs = sentence_pairs(documents, room=125, seed=1)     # for next-sentence prediction
    pieces = document_pieces(documents, room=126)           # for layouts without it

A document is a list of sentences, a sentence a list of tokens. As BERT's create_pretraining_data.py packs them, but for
three things: what overflows goes into the next sequence, where it would be cut off; a sequence of one sentence is
divided inside of it, where it would always get a random second part; and there are no sequences made short by purpose
(short_seq_prob), because the last one of each document is short.
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
    """Two stretches of text, and whether the second follows the first in its document."""

    first: Sentence
    second: Sentence
    follows: bool


def sentences(document: str) -> list[str]:
    """The sentences of a document; they only say where it may be divided.

    A line ends one, and so does a full stop, question or exclamation mark before a space, even of an abbreviation.
    """
    return [part for line in document.split("\n") for part in re.split(r"(?<=[.!?])\s+", line.strip()) if part]


def document_pieces(documents: Sequence[Sequence[Sentence]], room: int) -> Iterator[Sentence]:
    """Stretches of at most `room` tokens, as many whole sentences as fit; each token of each document once."""
    for document in documents:
        waiting = deque(document)
        while waiting:
            yield _joined(_fill(waiting, room))


def sentence_pairs(documents: Sequence[Sequence[Sentence]], room: int, seed: int) -> Iterator[Pair]:
    """Pairs of at most `room` tokens together; by a coin the second part follows, or is from another document.

    Each token of each document stands once in a first part or in a second part that follows; what a random second part
    displaces comes first in the next pair.

    Args:
        documents: at least two, none of them empty.
        room: tokens of a pair, at least 2.
        seed: of the coins, divisions and random parts.
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
            first, rest = _joined(chunk[:cut]), chunk[cut:]
            if follows and rest:
                yield Pair(first, _joined(rest), True)
            else:
                waiting.extendleft(reversed(rest))
                other = documents[(at + rng.randrange(1, len(documents))) % len(documents)]
                yield Pair(first, _excerpt(other, room - len(first), rng), False)


def _fill(waiting: deque[Sentence], room: int) -> list[Sentence]:
    """Take the sentences that fit from the front; of one that is longer than the room, its beginning."""
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
    """Whole sentences from a random place, as many as fit: a part that follows is made so, and looks no different.

    Where none of ten places has a sentence that fits, the beginning of one.
    """
    start = 0
    for _ in range(10):
        start = rng.randrange(len(document))
        if len(document[start]) <= room:
            break
    return _joined(_fill(deque(document[start : start + room]), room))


def _joined(parts: Sequence[Sentence]) -> Sentence:
    return list(chain.from_iterable(parts))
