import json
import os
import signal

import numpy as np
import pandas as pd
import pytest

from tunediff.compare.comparison import Comparison, compare_files, compare_tables
from tunediff.compare.effects.health import signal_to_noise
from tunediff.compare.effects.metric_differences import metric_differences
from tunediff.compare.effects.transitions import cube, transition_metrics, transitions, validity_metrics
from tunediff.compare.evidence import gather
from tunediff.compare.pairs import align as align_module
from tunediff.compare.pairs import predictions, stored
from tunediff.compare.pairs.align import align
from tunediff.compare.pairs.label_order import common_labels, log_probabilities
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields, Predictions
from tunediff.compare.pairs.stored import RowGroups, pair, store
from tunediff.data.cases import make_cases
from tunediff.runtime import beside, parquet
from tunediff.runtime.errors import TunediffError
from tunediff.tasks.classification import Classification

LABELS = ("contradiction", "entailment", "neutral")
FIELDS = Fields(inputs=("premise", "hypothesis"), scores="scores", cluster="source")


@pytest.fixture
def seven_at_a_time(monkeypatch):
    """Files of a hundred rows come in fifteen parts."""
    for module in (predictions, parquet, stored):
        monkeypatch.setattr(module, "ROWS", 7)


def tables(n=100, seed=0):
    """Two models' answers on the same cases, three a premise; one answer in ten is none, one in ten no label."""
    generator = np.random.default_rng(seed)
    gold = generator.integers(3, size=n)
    found = []
    for accuracy in (0.4, 0.8):
        answer = np.where(generator.random(n) < accuracy, gold, generator.integers(3, size=n))
        texts = [LABELS[one] for one in answer]
        texts = [None if at % 10 == 1 else "maybe" if at % 10 == 2 else text for at, text in enumerate(texts)]
        scores = generator.dirichlet([1, 1, 1], n).round(9)
        frame = {
            "case_id": [f"é{at}" for at in range(n)],
            "premise": [f"premise {at // 3}" for at in range(n)],
            "source": [f"text {at // 3}" if at // 3 != 5 else None for at in range(n)],
            "hypothesis": [f"a\u2028b {at % 4} <i>" for at in range(n)],
            "label": [LABELS[one] for one in gold],
            "prediction": texts,
            "scores": [dict(zip(LABELS, row, strict=True)) for row in scores.tolist()],
        }
        found.append(pd.DataFrame(frame))
    return found


def write(folder, kind, frames):
    paths = [folder / f"{name}.{kind}" for name in ("before", "after")]
    for path, frame in zip(paths, frames, strict=True):
        if kind == "csv":
            frame.assign(scores=frame["scores"].map(json.dumps)).to_csv(path, index=False)
        elif kind == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_json(path, orient="records", lines=True)
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_parts_give_what_the_whole_files_give_to_the_last_digit(kind, tmp_path, monkeypatch):
    before, after = tables()
    paths = write(tmp_path, kind, (before, after.sample(frac=1, random_state=1)))
    # In memory: one part a file, and the pairing, comparison and metrics of the pipeline.
    (first,), (second,) = (read_predictions(path, FIELDS) for path in paths)
    kept = [store([part], "file").scored for part in (first, second)]
    assert common_labels(*kept, ("before", "after")) == LABELS
    frames = [part.frame.assign(log_probs=list(log_probabilities(part.scores))) for part in (first, second)]
    whole = align(*frames, shared=("premise", "hypothesis", "cluster"))
    cells = transitions(whole)
    expected = transition_metrics(cells, 0.95, whole["cluster"]) | validity_metrics(whole)
    change = cells.map({"repaired": 1, "broken": -1}).fillna(0).to_numpy(np.int64)
    expected["signal_to_noise"] = signal_to_noise(change, whole["cluster"])
    # An answer that is no label says nothing of the label.
    agreed = whole["prediction_base"].isin(LABELS) & (whole["prediction_base"] == whole["prediction_tuned"])
    expected["agreed_against_label"] = int((agreed & (whole["outcome_base"] == "wrong")).sum())

    for module in (predictions, parquet, stored):
        monkeypatch.setattr(module, "ROWS", 7)
    found = gather(compare_files(*(read_predictions(path, FIELDS) for path in paths)))
    assert len(found.comparison.pairs.before.sizes) == 15
    assert found.metrics == expected
    comparison = Comparison(whole, Classification("", (), LABELS, "text", ""), 0.95, whole["cluster"])
    pd.testing.assert_frame_equal(found.tables["differences"], pd.DataFrame(metric_differences(comparison)))
    counts = cube(whole.assign(**{
        name: whole[name].where(whole[name].isin(LABELS)) for name in ("prediction_base", "prediction_tuned")
    }))  # fmt: skip
    pd.testing.assert_frame_equal(cube(found.comparison.labelled), counts)
    cases = found.cases
    assert cases["transition"].tolist() == cells.tolist()
    for name in whole:
        one, other = (frame[name].astype(object).where(frame[name].notna(), None) for frame in (cases, whole))
        assert [np.asarray(value).tolist() for value in one] == [np.asarray(value).tolist() for value in other], name
    rows = np.array([0, 6, 7, 50, 99])
    assert found.comparison.pairs.at(rows)["case_id"].tolist() == before["case_id"].iloc[rows].tolist()
    assert found.comparison.pairs.at(rows[:0]).empty


@pytest.mark.usefixtures("seven_at_a_time")
def test_repeated_inputs_of_several_parts_have_the_ids_of_the_pipeline(tmp_path):
    frame = pd.DataFrame({"text": [f"text {at % 13}" for at in range(40)], "label": "a", "prediction": "a"})
    paths = write(tmp_path, "jsonl", [frame.assign(scores=None)] * 2)
    found = gather(compare_files(*(read_predictions(path, Fields(inputs=("text",))) for path in paths)))
    cases = make_cases([({"text": text}, "a", []) for text in frame["text"]])
    assert found.cases["case_id"].tolist() == [case.case_id for case in cases]


@pytest.mark.usefixtures("seven_at_a_time")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"label": [30, 60]},
            r"label: found different values for 2 of 100 cases \(é30, é60; the first: '\w+' and 'x'\)",
        ),
        ({"hypothesis": [8]}, r"hypothesis: found different values for 1 of 100 cases \(é8; the first"),
        ({"case_id": [3]}, r"different cases: found 1 only in before \(é3\), 1 only in after \(x\)"),
        ({"case_id": [3, 90]}, r"^after: case_id: found 1 more than once \(x\)"),
    ],
)
def test_a_difference_anywhere_is_refused_with_all_of_its_cases_counted(change, message, tmp_path):
    before, after = tables()
    for column, rows in change.items():
        after.loc[rows, column] = "x"
    paths = write(tmp_path, "parquet", (before, after.iloc[::-1]))
    with pytest.raises(TunediffError, match=message):
        compare_files(*(read_predictions(path, FIELDS) for path in paths))


def test_ids_with_one_hash_are_told_apart(monkeypatch):
    hashed, salts = align_module._keys, []

    def clashing(ids, salt):
        salts.append(salt)
        return hashed(ids, salt) % (7 if salt < 2 else 2**63)

    monkeypatch.setattr(align_module, "_keys", clashing)
    before, after = tables()
    assert (
        gather(compare_tables(before, after.iloc[::-1], FIELDS)).cases["case_id"].tolist() == before["case_id"].tolist()
    )
    assert max(salts) == 2


def part(start, **changes):
    columns = {"case_id": [f"{start}", f"{start + 1}"], "label": "a", "prediction": "a", "outcome": "right"}
    frame = pd.DataFrame(columns | {"prompt_hash": None, "scorer": None}, index=[start, start + 1])
    return Predictions(frame, ())._replace(**changes)


def test_scores_of_other_labels_further_down_are_refused_and_missing_ones_leave_all_out():
    first = part(1, scores=np.zeros((2, 2)), labels=("a", "b"))
    with pytest.raises(TunediffError, match=r"^file, row 3: scores: found those of a, c, expected .* in every row"):
        store([first, part(3, scores=np.zeros((2, 2)), labels=("a", "c"))], "file")
    assert store([first, part(3, scores=np.ones((2, 2)), labels=("a", "b"))], "file").scored is not None
    gap = store([first, part(3, labels=("a", "b")), part(5, scores=np.zeros((2, 2)), labels=("a", "b"))], "file")
    assert gap.scored is None
    pairs = pair(gap, gap, ("before", "after"))
    assert "log_probs_base" not in next(iter(pairs))
    assert len(pairs) == 6


def test_what_lies_on_disk_has_no_name_and_a_folder_that_cannot_be_written_is_named(tmp_path):
    before, after = tables()
    found = gather(compare_tables(before, after, FIELDS))
    kept = store([part(1)], "file", tmp_path)
    assert next(kept.groups.column("case_id")).tolist() == ["1", "2"]
    assert list(tmp_path.iterdir()) == []
    assert len(found.cases) == 100
    with pytest.raises(TunediffError, match="nowhere: cannot be written: No such file"):
        RowGroups(tmp_path / "nowhere")


@pytest.fixture
def two_cores(monkeypatch):
    """A second core, for which there are two processes."""
    monkeypatch.setattr(beside, "cores", lambda: 2)


@pytest.mark.slow
@pytest.mark.usefixtures("seven_at_a_time", "two_cores")
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_files_that_are_read_at_once_give_what_they_give_one_after_the_other(kind, tmp_path):
    paths = write(tmp_path, kind, tables())

    def found(at_once):
        files = (read_predictions(path, FIELDS) for path in paths)
        return gather(compare_files(*files, folder=tmp_path, at_once=at_once))

    first, second = found(at_once=False), found(at_once=True)
    assert second.metrics == first.metrics
    pd.testing.assert_frame_equal(second.cases, first.cases)
    assert sorted(tmp_path.iterdir()) == sorted(paths)


@pytest.mark.usefixtures("seven_at_a_time", "two_cores")
@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_wrong_with_the_first_file_comes_first_and_then_what_is_wrong_with_the_second(at_once, tmp_path):
    paths = write(tmp_path, "jsonl", tables())
    whole = paths[0].read_bytes()
    for path in paths:
        path.write_bytes(whole + b"no JSON\n")
    for broken in (0, 1):
        with pytest.raises(TunediffError, match=f"{paths[broken].name}, row 101: is not JSON"):
            compare_files(*(read_predictions(path, FIELDS) for path in paths), folder=tmp_path, at_once=at_once)
        paths[broken].write_bytes(whole)


@pytest.mark.usefixtures("two_cores")
def test_a_reading_process_that_is_killed_is_said_in_a_line(tmp_path):
    paths = write(tmp_path, "jsonl", tables())

    def killed():
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    with pytest.raises(TunediffError, match=r"^after: its process was killed"):
        compare_files(read_predictions(paths[0], FIELDS), killed(), folder=tmp_path, at_once=True)


@pytest.mark.usefixtures("two_cores")
def test_a_defect_in_the_reading_process_is_raised_with_its_traceback(tmp_path):
    paths = write(tmp_path, "jsonl", tables())

    def defective():
        raise ValueError("not expected")
        yield

    with pytest.raises(ValueError, match="not expected") as raised:
        compare_files(read_predictions(paths[0], FIELDS), defective(), folder=tmp_path, at_once=True)
    assert "in defective" in "".join(raised.value.__notes__)
