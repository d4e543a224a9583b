"""Every row once, rows of like length together, batches in an order that says nothing of their length."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import train_section
from tests.tiny_generator import LIMIT, TOKENIZER, made
from tunediff.models.load import Loaded
from tunediff.training.batches import like_lengths, split_rows
from tunediff.training.finetune import finetune


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


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0, -1, 7])), max_size=200), st.integers(1, 9))
def test_rows_of_different_kinds_never_share_a_batch_and_every_row_comes_once(rows, size):
    lengths, kinds = [length for length, _ in rows], [kind for _, kind in rows]
    of_one = sum(-(-kinds.count(kind) // size) for kind in {*kinds})
    for batches in (split_rows(range(len(rows)), size, kinds), like_lengths(lengths, size, kinds)):
        assert sorted(chain(*batches)) == list(range(len(rows)))
        assert all(len({kinds[i] for i in batch}) == 1 for batch in batches)
        assert len(batches) == of_one
        assert all(0 < len(batch) <= size for batch in batches)
    assert split_rows([3, 1, 0, 2], 2, [0] * 4) == [[3, 1], [0, 2]]


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
@pytest.mark.parametrize("name", ["phi3", "llama"])
def test_rows_on_both_sides_of_a_rotary_limit_are_learned_as_each_by_itself(name, strategy, tmp_path):
    model = made(name)
    # With the last token, which is not read, a row of LIMIT + 1 is within the limit.
    rows = [([3 + (7 * i + k) % 300 for k in range(n)], 4) for i, n in enumerate((9, LIMIT + 1, LIMIT + 2, 20, 50, 40))]
    with torch.no_grad():
        nats = [
            torch.nn.functional.cross_entropy(
                model(torch.tensor([tokens[:-1]]), use_cache=False).logits[0, -n:], torch.tensor(tokens[-n:])
            )
            for tokens, n in rows
        ]
    model.requires_grad_(True)
    train = train_section(learning_rate=1e-12, num_train_epochs=1, train_sampling_strategy=strategy)
    loaded = Loaded(model, TOKENIZER, 128, 0, None, [])
    [log] = finetune(loaded, rows, rows, train, tmp_path, "lm")
    expected = float(torch.stack(nats).mean())
    assert log["train_loss"] == pytest.approx(expected, rel=1e-4)
    assert log["validation_loss"] == pytest.approx(expected, rel=1e-4)
    assert log["step"] == 2
