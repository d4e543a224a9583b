import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import small_model, small_tokenizer
from tunediff.models.prefix import WORTH_SHARING, read_prefix, rows_after, shared_prefix

MODEL = small_model("llama", small_tokenizer())


@given(
    rows=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=4),
    beginning=st.lists(st.integers(0, 1), max_size=WORTH_SHARING + 2),
)
def test_the_shared_prefix_is_the_longest_that_leaves_every_row_a_token(rows, beginning):
    rows = [beginning + row for row in rows]
    longest = next(
        length
        for length in reversed(range(min(map(len, rows))))
        if all(row[:length] == rows[0][:length] for row in rows)
    )
    assert shared_prefix(rows) == (rows[0][:longest] if longest >= WORTH_SHARING else [])


def test_a_row_after_the_prefix_is_as_after_reading_both():
    prefix = read_prefix(MODEL, [1, 7, 8])
    after = MODEL(input_ids=torch.tensor([[9, 4], [5, 6]]), past_key_values=rows_after(prefix, 2)).logits
    whole = MODEL(input_ids=torch.tensor([[1, 7, 8, 9, 4], [1, 7, 8, 5, 6]])).logits[:, 3:]
    torch.testing.assert_close(after, whole, rtol=1e-5, atol=1e-5)


def test_rows_leave_the_prefix_as_it_was():
    prefix = read_prefix(MODEL, [1, 7, 8])
    MODEL(input_ids=torch.tensor([[9, 4]]), past_key_values=rows_after(prefix, 1))
    assert {tuple(keys.shape[:3:2]) for keys, _ in prefix} == {(1, 3)}
