import csv
import gzip
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness_samples import choice_sample
from tests.made_answers import TASK, answers_of, made_questions
from tests.shared_data import shared_data
from tests.whole_files import write_predictions
from tunediff.compare.comparison import compare_files
from tunediff.compare.evidence import gather
from tunediff.compare.pairs import predictions
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime.errors import TunediffError

ROWS = [
    {"id": 7, "premise": 'A "man",\nrunning.', "gold": 0, "answer": "0", "p": {"0": 0.9, "1": 0.1}},
    {"id": 8, "premise": "A <b>dog</b>\u2028.", "gold": 1, "answer": None, "p": {"0": 0.6, "1": 0.4}},
]
FIELDS = Fields(label="gold", prediction="answer", inputs=("premise",), case_id="id", scores="p")


def write(folder, kind, rows=ROWS):
    path = folder / f"predictions.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        # Parquet keeps the objects, CSV has them as JSON text.
        frame = pd.DataFrame(rows)
        if kind == "csv":
            frame["p"] = frame["p"].map(json.dumps)
            frame.to_csv(path, index=False, encoding="utf-8-sig")
        else:
            frame.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_the_three_kinds_of_table_say_the_same(tmp_path, kind):
    (found,) = read_predictions(write(tmp_path, kind), FIELDS)
    assert found.frame["case_id"].tolist() == ["7", "8"]
    assert found.frame["premise"].tolist() == [row["premise"] for row in ROWS]
    assert found.frame["label"].tolist() == ["0", "1"]
    assert found.frame["outcome"].tolist() == ["right", "invalid"]
    assert found.labels == ("0", "1")
    assert found.scores.tolist() == [[0.9, 0.1], [0.6, 0.4]]


def test_this_projects_own_file_brings_its_outcomes_and_label_list(tmp_path):
    frame = pd.DataFrame(
        {
            "case_id": ["a", "b"],
            "label": ["yes", "no"],
            "prediction": ["yes", None],
            "outcome": ["right", "invalid"],
            "log_probs": [[-0.1, -2.4], [-0.2, -1.7]],
            "text": ["yes", "?"],
            "finish_reason": "stop",
            "scorer": "generation",
            "prompt_hash": ["p", "q"],
            "n_tokens": 3,
            "truncated": False,
        }
    )
    write_predictions(tmp_path / "own.parquet", frame, {"labels": ["yes", "no"]})
    (found,) = read_predictions(tmp_path / "own.parquet", Fields())
    assert found.labels == ("yes", "no")
    assert found.frame["outcome"].tolist() == ["right", "invalid"]
    assert found.frame["scorer"].tolist() == ["generation"] * 2
    assert found.scores.tolist() == [[-0.1, -2.4], [-0.2, -1.7]]


def test_this_projects_own_answers_bring_their_f1_and_an_empty_one_stays_an_answer(tmp_path):
    frame = answers_of(made_questions(8, "test"), [True] * 8)
    write_predictions(tmp_path / "own.parquet", frame, {"labels": TASK.labels})
    (found,) = read_predictions(tmp_path / "own.parquet", Fields())
    assert found.frame["prediction"].tolist() == frame["prediction"].tolist()
    assert "" in found.frame["prediction"].tolist()
    assert found.frame["f1"].tolist() == [1.0] * 8
    assert [[answer.text for answer in gold] for gold in found.frame["answers"]] == frame["answers"].tolist()
    write_predictions(tmp_path / "unscored.parquet", frame.assign(log_probs=None), {"labels": TASK.labels})
    (unscored,) = read_predictions(tmp_path / "unscored.parquet", Fields())
    assert unscored.scores is None


def test_samples_of_the_harness_are_known_by_their_first_line(tmp_path):
    path = tmp_path / "samples_anli_r1_2026-11-20.jsonl"
    rows = [choice_sample(i, i, [-1, -2, -3], float(i == 0)) for i in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (found,) = read_predictions(path, Fields(cluster="premise"), metric="acc")
    assert found.frame["outcome"].tolist() == ["right", "wrong"]
    assert found.frame["cluster"].nunique() == 1


def test_text_in_a_csv_file_is_what_stands_there(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("case_id,label,prediction\r\n01,NA,NA\r\n02,null,\r\n03,1.10,1.1\r\n", encoding="utf-8")
    frame = next(read_predictions(path, Fields())).frame
    assert frame["case_id"].tolist() == ["01", "02", "03"]
    assert frame["label"].tolist() == ["NA", "null", "1.10"]
    assert frame["outcome"].tolist() == ["right", "invalid", "wrong"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", '{"case_id": 1, "label": "a", "prediction": "a"}\n{"case_id"', r"p.jsonl, row 2: is not JSON"),
        (
            "p.jsonl",
            '{"case_id": 1, "label": "a"}\n',
            r"p.jsonl: found no column 'prediction' among \['case_id', 'label'\]",
        ),
        ("p.jsonl", "\n\n", r"p.jsonl: has no row"),
        (
            "p.jsonl",
            '{"case_id": 1, "prediction": "a", "label": "a"}\n\n{"case_id": 2}\n',
            r"row 3: label: found nothing",
        ),
        ("p.jsonl", b"\xff\xfe", r"p.jsonl: byte 0: found bytes that are not UTF-8"),
        ("p.csv", "", r"p.csv: has no row"),
        ("p.csv", "case_id,label,prediction\n", r"p.csv: has no row"),
        ("p.csv", "case_id,label,label\n1,a,a\n", r"has the column 'label' twice"),
        ("p.csv", "case_id,label\n1,a\n", r"p.csv: found no column 'prediction' among \['case_id', 'label'\]"),
        ("p.csv", 'case_id,label,prediction\n1,a,"a\n', r"p.csv, row 2: is not CSV"),
        ("p.csv", "case_id,label,prediction\n1,a,a\n2,b,b,b,b\n", r"p.csv, row 3: found 5 fields, expected 3"),
        ("p.csv", "case_id,label,prediction\n1,a,a\n2\n", r"p.csv, row 3: found 1 fields, expected 3"),
        ("p.csv", b"case_id,label,prediction\n1,\xff,a\n", r"found bytes that are not UTF-8"),
        ("p.parquet", "PAR1", r"p.parquet: is not a readable Parquet file"),
        ("p.txt", "x", r"found a name ending in '.txt', expected .jsonl, .ndjson, .csv, .tsv, .parquet, .json, .eval"),
        ("p.json", "{}", r"expected its data set as --data"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_a_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TunediffError, match=message) as error:
        list(read_predictions(path, Fields()))
    assert len(error.value.args) == 1
    assert "\n" not in str(error.value).strip()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_file_that_is_not_there_is_named(tmp_path, kind):
    with pytest.raises(TunediffError, match=f"missing.{kind}: there is no such file"):
        list(read_predictions(tmp_path / f"missing.{kind}", Fields()))


def squad(folder, answers, questions):
    """A small data set in SQuAD's layout, and predictions."""
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    texts = [
        {
            "context": context,
            "qas": [
                {
                    "id": id_,
                    "question": f"{id_}?",
                    "answers": [{"text": text, "answer_start": 0} for text in references],
                }
                for id_, references in pairs
            ],
        }
        for context, pairs in questions
    ]
    data = {"version": "v2.0", "data": [{"title": "t", "paragraphs": texts}]}
    (folder / "dev.json").write_text(json.dumps(data), encoding="utf-8")
    return folder / "answers.json", folder / "dev.json"


def test_squad_predictions_are_scored_by_exact_match_and_f1_and_cluster_by_paragraph(tmp_path):
    path, data = squad(
        tmp_path,
        {"q1": "the Normans", "q2": "10th century", "q3": "", "unasked": "x"},
        [
            ("One.", [("q1", ["Normans", "the Norman people"]), ("q2", ["the 10th and 11th centuries"])]),
            ("Two.", [("q3", [])]),
        ],
    )
    (found,) = read_predictions(path, Fields(), data)
    frame = found.frame
    assert frame["outcome"].tolist() == ["right", "wrong", "right"]
    assert frame["f1"].tolist() == pytest.approx([1.0, 2 * 0.5 * 0.25 / 0.75, 1.0])
    assert frame["label"].tolist() == ["answerable", "answerable", "unanswerable"]
    assert [[answer.text for answer in gold] for gold in frame["answers"]] == [
        *(["Normans", "the Norman people"], ["the 10th and 11th centuries"], []),
    ]
    assert (frame["cluster"] == frame["cluster"].iloc[0]).tolist() == [True, True, False]
    assert found.inputs == ("question", "context")


def test_squad_questions_without_an_answer_in_the_file_are_counted(tmp_path):
    path, data = squad(tmp_path, {"q1": "a"}, [("One.", [(f"q{i}", ["a"]) for i in range(1, 6)])])
    with pytest.raises(TunediffError, match=r"no answer to 4 of the 5 questions of .*dev.json \(q2, q3, q4, ...\)"):
        list(read_predictions(path, Fields(), data))


@pytest.mark.parametrize(
    ("answers", "data", "message"),
    [
        ([1], None, "found no object of texts"),
        ({"q1": 3}, None, "found no object of texts"),
        ({"q1": "a"}, {"data": []}, "has no question"),
        ({"q1": "a"}, {"rows": []}, "data: found None, expected a list, as in SQuAD's JSON"),
        (
            {"q1": "a"},
            {"data": [{"paragraphs": [{"context": "One.", "qas": [{"id": "q1"}]}]}]},
            "article 1, paragraph 1, question 1: question: found None",
        ),
        ({"q1": "a"}, [1, 2], 'expected an object with "data"'),
        ({"q1": "a \ud800"}, None, r"answers.json: q1: found '\\ud800', expected whole characters"),
        (
            {"q1": "a"},
            {"data": [{"paragraphs": [{"context": "One.\udfff", "qas": []}]}]},
            r"article 1, paragraph 1: context: found '\\udfff', expected whole characters",
        ),
    ],
)
def test_what_is_not_squads_layout_is_refused(tmp_path, answers, data, message):
    path, dev = squad(tmp_path, answers, [("One.", [("q1", ["a"])])])
    if data is not None:
        dev.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(TunediffError, match=message):
        list(read_predictions(path, Fields(), dev))


def test_the_published_squad_predictions_give_the_golden_exact_and_f1():
    (found,) = read_predictions(
        shared_data("squad/predictions-v2.0-bert-single.json"), Fields(), shared_data("squad/dev-v2.0.json")
    )
    assert len(found.frame) == 11873
    assert 100 * (found.frame["outcome"] == "right").mean() == pytest.approx(78.74168280973637, rel=1e-12)
    assert 100 * found.frame["f1"].mean() == pytest.approx(81.77528052374723, rel=1e-12)


INTEGERS = st.integers(-3, 3) | st.integers(2**53, 2**53 + 4)
KINDS_OF_VALUES = [
    st.integers(-2, 2),
    st.none() | INTEGERS,
    st.sampled_from([0.0, 1.0, -0.0, 0.5, 1e19, 1e-7, None]),
    st.sampled_from([1, 1.0, 2, 1e19, None]),
    st.sampled_from([True, False, None]),
    st.sampled_from(["yes", " yes", "no ", "007", "7", "1.10", "1.1", "1e5", "1.0", "True", "NA", "", None]),
]
TABLES = st.sampled_from(KINDS_OF_VALUES).flatmap(
    lambda values: st.lists(st.tuples(values.filter(lambda value: value not in ("", None)), values, values), min_size=1)
)


def in_every_format(folder, columns):
    """One table as JSON lines, CSV and Parquet."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with (folder / "p.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    kinds = {name: {type(value) for value in values} - {type(None)} for name, values in columns.items()}
    mixed = {name: values if len(kinds[name]) < 2 else list(map(as_float, values)) for name, values in columns.items()}
    pq.write_table(pa.table(mixed), folder / "p.parquet")
    return ["p.jsonl", "p.csv", "p.parquet"]


def as_float(value):
    return None if value is None else float(value)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLES)
def test_one_table_in_three_formats_gives_the_same_diff(tmp_path, rows):
    label, before, after = (list(column) for column in zip(*rows, strict=True))
    ids = list(range(len(rows)))
    found = []
    for model, prediction in (("before", before), ("after", after)):
        (tmp_path / model).mkdir(exist_ok=True)
        names = in_every_format(tmp_path / model, {"case_id": ids, "label": label, "prediction": prediction})
    for name in names:
        both = [read_predictions(tmp_path / model / name, Fields()) for model in ("before", "after")]
        evidence = gather(compare_files(*both, names=("before", "after")))
        found.append((evidence.metrics, list(evidence.records), evidence.checks))
    assert found[1] == found[0]
    assert found[2] == found[0]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_whole_numbers_beside_a_gap_are_whole_numbers(tmp_path, kind):
    # As pandas stores them: 1.0, and 1.0 in a CSV file.
    frame = pd.DataFrame({"case_id": [1, 2, 3], "label": [1, 0, 2**53 + 1], "prediction": [1.0, 0.0, None]})
    path = tmp_path / f"p.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
        assert "1.0" in path.read_text()
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    (found,) = read_predictions(path, Fields())
    assert found.frame["label"].tolist() == ["1", "0", "9007199254740993"]
    assert found.frame["outcome"].tolist() == ["right", "right", "invalid"]


def test_large_numbers_beside_small_ones_are_read(tmp_path):
    rows = [{"case_id": "a", "label": "1", "prediction": 1e19}, {"case_id": "b", "label": "2", "prediction": 2}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = read_predictions(tmp_path / "p.jsonl", Fields())
    assert found.frame["prediction"].tolist() == ["10000000000000000000", "2"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_blanks_around_names_and_labels_are_cut_in_every_format(tmp_path, kind):
    columns = {"case_id": ["1", "2"], " label": ["yes", " no"], "prediction ": ["yes ", "no"]}
    in_every_format(tmp_path, columns)
    (found,) = read_predictions(tmp_path / f"p.{kind}", Fields())
    assert found.frame["outcome"].tolist() == ["right", "right"]


def test_an_empty_gold_label_is_refused_with_its_rows(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("case_id,label,prediction\n1,,no\n2,no,no\n3, ,yes\n,yes,yes\n")
    with pytest.raises(TunediffError) as error:
        list(read_predictions(path, Fields()))
    assert list(error.value.args) == [
        f"{path}, row 2: label: found nothing, expected a value in each row; 2 such rows (2, 4)",
        f"{path}, row 5: case_id: found nothing, expected a value in each row",
    ]


def test_all_problems_of_a_long_file_are_counted_together(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "ROWS", 10)
    rows = [
        {"case_id": n, "label": None if n % 20 == 5 else "a", "prediction": ["a"] if n == 47 else "a"}
        for n in range(50)
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TunediffError) as error:
        list(read_predictions(tmp_path / "p.jsonl", Fields()))
    first, second = error.value.args
    assert first.endswith("row 6: label: found nothing, expected a value in each row; 3 such rows (6, 26, 46)")
    assert second.endswith("row 48: prediction: found ['a'], expected text or a number")


def test_columns_that_first_appear_late_are_read_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "ROWS", 10)

    def late(name, **more):
        rows = [
            {"case_id": n, "label": "a", "prediction": "a"} | ({name: more[name]} if n > 20 else {}) for n in range(30)
        ]
        path = tmp_path / f"{more[name]}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return list(read_predictions(path, Fields()))

    hashes = [value for part in late("prompt_hash", prompt_hash="p") for value in part.frame["prompt_hash"]]
    assert [value for value in hashes if isinstance(value, str)] == ["p"] * 9
    pair = [late("prompt_hash", prompt_hash=name) for name in ("p", "q")]
    with pytest.raises(TunediffError, match="prompt_hash: found different values for 9 of 30 cases"):
        compare_files(*pair)
    with pytest.raises(
        TunediffError, match=r"row 22: found the first value of 'outcome', expected one in the earlier rows too"
    ):
        late("outcome", outcome="right")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz"])
def test_another_separator_and_a_packed_file_are_read_as_the_plain_one(tmp_path, separator, name):
    text = "case_id,label,prediction\n1,a,a\n2,b,a\n"
    (tmp_path / "plain.csv").write_text(text)
    packed = gzip.compress if name.endswith(".gz") else bytes
    (tmp_path / name).write_bytes(packed(text.replace(",", separator).encode()))
    [plain], [other] = (list(read_predictions(tmp_path / one, Fields())) for one in ("plain.csv", name))
    pd.testing.assert_frame_equal(plain.frame, other.frame)


def test_an_array_of_records_is_read_like_its_lines(tmp_path):
    rows = [{"case_id": n, "label": "a", "prediction": "a"} for n in range(3)]
    for name, indent in (("p.jsonl", 2), ("p.json", None)):
        (tmp_path / name).write_text(json.dumps(rows, indent=indent))
        (found,) = read_predictions(tmp_path / name, Fields())
        assert found.frame["outcome"].tolist() == ["right"] * 3


def test_a_question_that_stands_twice_is_refused(tmp_path):
    path, data = squad(tmp_path, {"1": "c"}, [("c d", [("1", ["c"]), ("1", ["d"])])])
    with pytest.raises(TunediffError, match=r"dev.json: id: found 1 more than once \(1\), expected each once"):
        list(read_predictions(path, Fields(), data))
    path, data = squad(tmp_path, {}, [("c d", [("1", ["c"])])])
    path.write_text('{"1": "c", "1": "d"}')
    with pytest.raises(TunediffError, match=r"answers.json: is not JSON: has the key '1' twice"):
        list(read_predictions(path, Fields(), data))


@pytest.mark.parametrize(
    ("column", "outcomes"),
    [
        ([1, 0, None], ["right", "wrong", "invalid"]),
        ([True, False, None], ["right", "wrong", "invalid"]),
        (["PASS", "fail", ""], ["right", "wrong", "invalid"]),
        (["right", "wrong", "invalid"], ["right", "wrong", "invalid"]),
        ([1.0, 0.0, 1.0], ["right", "wrong", "right"]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_ready_outcome_needs_neither_label_nor_prediction(tmp_path, kind, column, outcomes):
    in_every_format(tmp_path, {"id": [1, 2, 3], "ok": column})
    (found,) = read_predictions(tmp_path / f"p.{kind}", Fields(case_id="id", correct="ok"))
    assert found.frame["outcome"].tolist() == outcomes
    assert found.frame[["label", "prediction"]].isna().all(axis=None)
    assert found.labels == ()
    assert found.origin.startswith("a table, right according to ok, cases by id; without answers")


def test_a_score_takes_a_threshold_in_a_table_too(tmp_path):
    in_every_format(tmp_path, {"id": [1, 2, 3], "f1": [1.0, 0.5, 0.25], "label": ["a", "b", "c"]})
    fields = Fields(case_id="id", correct="f1")
    with pytest.raises(TunediffError, match=r"row 3: f1: found '0.5', expected 0 or 1 .*; 2 such rows \(3, 4\)"):
        list(read_predictions(tmp_path / "p.csv", fields))
    (found,) = read_predictions(tmp_path / "p.csv", fields, threshold=0.5)
    assert found.frame["outcome"].tolist() == ["right", "right", "wrong"]
    assert found.frame["label"].tolist() == ["a", "b", "c"]
    with pytest.raises(TunediffError, match="found no column 'ok' among"):
        list(read_predictions(tmp_path / "p.csv", Fields(case_id="id", correct="ok")))


def test_a_tsv_file_is_a_table_whose_quotation_marks_are_text(tmp_path):
    (tmp_path / "p.tsv").write_text('case_id\tlabel\tprediction\n1\t"a\t"a\n')
    (found,) = read_predictions(tmp_path / "p.tsv", Fields())
    assert found.frame["prediction"].tolist() == ['"a']
    assert found.origin == "a table, prediction compared with label, cases by case_id"


def test_a_file_of_no_known_form_is_told_which_there_are(tmp_path):
    (tmp_path / "p.json").write_text('{"accuracy": 0.5}')
    with pytest.raises(TunediffError, match=r"object with 'accuracy', expected .* a log of inspect_ai, .*HELM"):
        list(read_predictions(tmp_path / "p.json", Fields()))
