"""Batches lose no row, keep their budget, and shrink where memory runs out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tunediff.engines.local.batching import plan, run_batches
from tunediff.runtime.errors import TunediffError

ROWS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), max_size=20)


@given(ROWS, st.integers(1, 40))
def test_a_plan_holds_every_row_once_within_the_budget(rows, budget):
    batches = plan(rows, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    for batch in batches:
        # Padding counts: each row takes as much as the longest.
        assert len(batch) == 1 or max(len(rows[i]) for i in batch) * len(batch) <= budget


@given(ROWS, st.integers(1, 40), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_change_the_batches(rows, budget, random):
    shuffled = random.sample(rows, len(rows))
    assert [[shuffled[i] for i in batch] for batch in plan(shuffled, budget)] == [
        [rows[i] for i in batch] for batch in plan(rows, budget)
    ]


def test_a_plan_fills_its_batches():
    assert plan([[1] * 12, [1] * 40, [1] * 13], 48) == [[1], [2, 0]]
    assert plan([[1] * 4] * 7, 12) == [[0, 1, 2], [3, 4, 5], [6]]


@given(ROWS, st.integers(1, 60), st.integers(1, 5))
def test_memory_that_runs_out_halves_the_batch_and_loses_nothing(rows, budget, limit):
    answered = []

    def answer(batch):
        if len(batch) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        answered.append(len(batch))
        return [sum(rows[i]) for i in batch]

    assert run_batches(rows, budget, answer, "test") == [sum(row) for row in rows]
    assert sum(answered) == len(rows)


MEMORY = [
    torch.OutOfMemoryError("Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("CUDA error: out of memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", MEMORY, ids=["torch", "cpu", "cuda", "python"])
def test_a_row_that_does_not_fit_alone_ends_in_one_line(error):
    def answer(batch):
        raise error

    with pytest.raises(TunediffError) as caught:
        run_batches([[1, 2, 3], [1]], 100, answer, "eval_base")
    assert caught.value.args == ("eval_base: not enough memory for one case of 3 tokens",)


def test_what_torch_really_says_is_understood():
    with pytest.raises(TunediffError, match="not enough memory"):
        run_batches([[1]], 10, lambda batch: torch.empty(2**60, dtype=torch.uint8), "test")


def test_another_error_is_not_taken_for_a_lack_of_memory():
    def answer(batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run_batches([[1], [2]], 10, answer, "test")


def test_an_answer_too_few_is_a_defect_and_not_a_shorter_table():
    with pytest.raises(ValueError, match="zip"):
        run_batches([[1], [2]], 10, lambda batch: ["only one"], "test")


def test_falsy_results_are_results():
    assert run_batches([[1], [2, 2]], 10, lambda batch: [0.0] * len(batch), "test") == [0.0, 0.0]
