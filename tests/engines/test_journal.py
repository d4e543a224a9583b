"""An evaluation that was stopped goes on behind its last whole batch, with the very same answers."""

import errno

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.questions import CASE_SET as QUESTION_SET
from tests.questions import CASES as QUESTIONS
from tests.tiny import CASES, asked_for, engine_of, load, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.engines.asking import ask_cases
from tunediff.engines.journal import finished_batches
from tunediff.engines.local import batching
from tunediff.engines.local.batching import run_batches
from tunediff.engines.other_settings import other_settings
from tunediff.runtime.errors import TunediffError


class Stop(BaseException):
    """Stands in for a kill."""


@given(st.floats(width=64), st.integers(0, 4), st.integers(1, 12), st.integers(0, 60))
def test_what_was_answered_is_read_back_to_the_last_bit(tmp_path_factory, value, stop, budget, cut):
    folder, rows = tmp_path_factory.mktemp("scratch"), [[1] * n for n in (3, 1, 2, 3, 1)]
    asked = []

    def answer(batch):
        asked.extend(batch)
        if len(asked) > stop > 0:
            raise Stop
        return [[value * i, value] for i in batch]

    def ask():
        with finished_batches(folder):
            return run_batches(rows, budget, answer, "test")

    if stop:
        with pytest.raises(Stop):
            ask()
        # A kill may cut the last line off anywhere.
        [file] = folder.iterdir()
        file.write_bytes(file.read_bytes()[: len(file.read_bytes()) - min(cut, 1)])
    stop = 0
    asked.clear()
    assert repr(ask()) == repr([[value * i, value] for i in range(5)])
    asked.clear()
    assert repr(ask()) == repr([[value * i, value] for i in range(5)])
    assert asked == []


def test_a_half_of_a_batch_that_was_answered_is_not_answered_again(tmp_path):
    asked = []

    def answer(batch, stop=True):
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        if stop and asked:
            raise Stop
        asked.append(batch)
        return batch

    with pytest.raises(Stop), finished_batches(tmp_path):
        run_batches([[1]] * 4, 4, answer, "test")
    with finished_batches(tmp_path):
        assert run_batches([[1]] * 4, 4, lambda batch: answer(batch, stop=False), "test") == [0, 1, 2, 3]
    assert asked == [[0, 1], [2, 3]]


def test_each_call_has_its_own_answers_and_outside_nothing_is_kept(tmp_path):
    for _ in range(2):
        with finished_batches(tmp_path):
            assert [run_batches([[1]], 4, lambda batch, n=n: [n], "test") for n in range(2)] == [[0], [1]]
    assert run_batches([[1]], 4, lambda batch: [{1, 2}], "test") == [{1, 2}]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("garbage", [b"[[0], [7]]", b"\0\0\0\n", b"[[9], [7]]\n", b"[[0], [7, 8]]\n", b"7\n", b"{}\n"])
def test_a_line_that_is_not_whole_is_passed_over(garbage, tmp_path):
    (tmp_path / "001-0.jsonl").write_bytes(b"[[1], [5]]\n" + garbage)
    with finished_batches(tmp_path):
        assert run_batches([[1], [1]], 4, lambda batch: [6] * len(batch), "test") == [6, 5]
    assert (tmp_path / "001-0.jsonl").read_bytes() == b"[[1], [5]]\n[[0], [6]]\n"


def test_a_full_disk_is_one_line_and_what_was_kept_stays(tmp_path, monkeypatch):
    def full(path, *mode, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, finished_batches(tmp_path):
        patch.setattr("pathlib.Path.open", full)
        with pytest.raises(TunediffError, match=r"001-0\.jsonl: cannot be written: No space left on device"):
            run_batches([[1]], 4, lambda batch: batch, "test")


def stopped_and_gone_on(monkeypatch, folder, ask, after):
    """What `ask` gives when it is stopped after so many batches and asked again; how many batches each took."""
    real, calls, counts = batching.run_batches, [], []

    def counting(rows, budget, answer, title, *kinds, limit):
        def counted(batch):
            if len(calls) == limit:
                raise Stop
            calls.append(batch)
            return answer(batch)

        return real(rows, budget, counted, title, *kinds)

    found = None
    for limit in (after, None):
        calls.clear()
        with monkeypatch.context() as patch:
            for module in ("choices", "generate", "labels", "spans"):
                patch.setattr(
                    f"tunediff.engines.local.{module}.run_batches",
                    lambda *call, limit=limit: counting(*call, limit=limit),
                )
            try:
                with finished_batches(folder):
                    found = ask()
            except Stop:
                assert limit is not None
        counts.append(len(calls))
    return found, counts


@pytest.mark.parametrize("how", ["choices", "text", "labels", "span"])
def test_the_answers_are_those_of_a_run_that_nobody_stopped(how, tmp_path, tokenizer, bert_tokenizer, monkeypatch):
    lm = how in ("choices", "text")
    write_model(tmp_path / "m", *(("llama", tokenizer) if lm else ("bert", bert_tokenizer, "none")))
    head = "lm" if lm else {"labels": "classification", "span": "span"}[how]
    case_set, cases = (QUESTION_SET, QUESTIONS) if how == "span" else (asked_for(how), CASES)
    if how == "labels":
        case_set = case_set.model_copy(update={"prompt": Prompt()})
    loaded = load(tmp_path / "base", tmp_path / "m", case_set.labels, head=head)
    evaluate = Evaluate(
        scoring_method="choices",
        max_new_tokens=3,
        settings=["generation", "partial_input"] if lm else ["partial_input"] if how == "labels" else [],
    )

    def ask():
        engine = engine_of(loaded, 64)
        frame = ask_cases(engine, cases, case_set, evaluate, "test")
        return frame.assign(**other_settings(frame, engine, cases, [], case_set, evaluate, "test"))

    whole, counts = ask(), []
    stops = (1, 2) if how == "span" else (1, 3)
    for after in stops:
        found, (first, second) = stopped_and_gone_on(monkeypatch, tmp_path / f"scratch-{after}", ask, after)
        assert found.to_json() == whole.to_json()
        assert found["log_probs"].tolist() == whole["log_probs"].tolist()
        assert first == after
        counts.append(first + second)
    assert counts[0] == counts[1] > stops[1]
