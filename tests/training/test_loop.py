"""Every row once, rows of like length together, batches in an order that says nothing of their length."""

from itertools import chain

import torch
from hypothesis import given
from hypothesis import strategies as st

from tunediff.training.loop import like_lengths


@given(st.lists(st.integers(1, 60), max_size=200), st.integers(1, 9))
def test_every_row_comes_once(lengths, batch_size):
    batches = like_lengths(lengths, batch_size)
    assert sorted(chain(*batches)) == list(range(len(lengths)))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def rows_of(batch_size=8, n=4000):
    torch.manual_seed(3)
    lengths = torch.randint(5, 60, (n,)).tolist()
    return [[lengths[i] for i in batch] for batch in like_lengths(lengths, batch_size)]


def test_a_batch_holds_rows_of_like_length():
    padding = sum(max(batch) * len(batch) - sum(batch) for batch in rows_of())
    assert padding < 0.05 * sum(sum(batch) for batch in rows_of())


def test_long_and_short_batches_follow_each_other_by_chance():
    widths = torch.tensor([max(batch) for batch in rows_of()], dtype=torch.float64)
    following = torch.corrcoef(torch.stack([widths[:-1], widths[1:]]))[0, 1]
    assert abs(following) < 0.15


def test_the_seed_decides_the_order_and_the_next_epoch_has_another():
    lengths = list(range(100))
    torch.manual_seed(1)
    first, second = like_lengths(lengths, 4), like_lengths(lengths, 4)
    torch.manual_seed(1)
    assert like_lengths(lengths, 4) == first != second
