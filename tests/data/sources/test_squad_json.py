"""SQuAD's own JSON: the rows of the hub, places that a person finds, one line for what is malformed."""

import json
from copy import deepcopy

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.shared_data import shared_data
from tunediff.data.sources.squad_json import read_squad
from tunediff.data.sources.table_files import read_rows
from tunediff.runtime.errors import TunediffError

QUESTION = {
    "id": "q1",
    "question": "Where is the dog?",
    "answers": [{"text": "in the park", "answer_start": 11}, {"text": "the park"}],
    "is_impossible": False,
}
NO_ANSWER = {"id": "q2", "question": "Where is the cat?", "answers": [], "is_impossible": True}
PARAGRAPH = {"context": "The dog is in the park.", "qas": [QUESTION, NO_ANSWER]}
CONTENT = {"version": "v2.0", "data": [{"title": "Dogs", "paragraphs": [PARAGRAPH]}]}


def written(folder, content):
    path = folder / "dev.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def error_of(path):
    with pytest.raises(TunediffError) as caught:
        read_rows(path)
    [line] = caught.value.args
    assert line.startswith(f"{path}")
    return line.removeprefix(str(path))


def test_a_question_becomes_a_row_of_the_hubs_layout(tmp_path):
    first, second = read_rows(written(tmp_path, CONTENT))
    assert first == {
        "id": "q1",
        "title": "Dogs",
        "context": "The dog is in the park.",
        "question": "Where is the dog?",
        "answers": {"text": ["in the park", "the park"], "answer_start": [11, None]},
    }
    assert list(first) == ["id", "title", "context", "question", "answers"]
    assert second["answers"] == {"text": [], "answer_start": []}


def test_the_place_of_a_row_names_article_paragraph_and_question(tmp_path):
    _, row = read_rows(path := written(tmp_path, CONTENT))
    assert row.place == f"{path}, article 1 (Dogs), paragraph 1, question 2"
    assert row.number == 2


def test_version_1_1_and_an_article_without_a_title_are_read(tmp_path):
    content = deepcopy(CONTENT)
    del content["data"][0]["title"]
    content["data"][0]["paragraphs"][0]["qas"] = [
        {key: QUESTION[key] for key in ("id", "question", "answers")} | {"answers": QUESTION["answers"][:1]}
    ]
    [row] = read_rows(path := written(tmp_path, content))
    assert row["title"] is None
    assert row.place == f"{path}, article 1, paragraph 1, question 1"


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        ((), [1], ': found [1], expected an object with "data"'),
        (("data",), None, ": data: found None, expected a list"),
        (("data",), [], ": has no question, expected at least one"),
        (("data", 0), "x", ", article 1: found 'x', expected an object with \"title\""),
        (("data", 0, "title"), 3, ", article 1: title: found 3, expected text or nothing"),
        (("data", 0, "paragraphs"), {}, ", article 1 (Dogs): paragraphs: found {}, expected a list"),
        (("data", 0, "paragraphs", 0, "context"), None, " (Dogs), paragraph 1: context: found None, expected text"),
        (("data", 0, "paragraphs", 0, "qas", 1, "id"), 7, "paragraph 1, question 2: id: found 7, expected text"),
        (("data", 0, "paragraphs", 0, "qas", 0, "answers"), None, "question 1: answers: found None, expected a list"),
        (("data", 0, "paragraphs", 0, "qas", 0, "answers", 0, "text"), 1, "question 1: text: found 1, expected text"),
        (("data", 0, "paragraphs", 0, "qas", 0, "answers", 0, "answer_start"), True, "answer_start: found True"),
        (("data", 0, "paragraphs", 0, "qas", 0, "is_impossible"), True, "is_impossible True and 2 answers"),
        (("data", 0, "paragraphs", 0, "qas", 1, "is_impossible"), False, "is_impossible False and 0 answers"),
    ],
)
def test_what_is_malformed_is_one_line_that_names_the_place(keys, value, expected, tmp_path):
    content = deepcopy(CONTENT)
    holder = [content]
    for key in ("content", *keys)[:-1]:
        holder = holder[0] if key == "content" else holder[key]
    if keys:
        holder[keys[-1]] = value
    else:
        content = value
    assert expected in error_of(written(tmp_path, content))


def test_a_file_that_is_not_json_is_named(tmp_path):
    assert error_of(written(tmp_path, "{")).startswith(": is not JSON")


def test_the_hubs_parquet_layout_gives_the_same_rows(tmp_path):
    rows = read_rows(written(tmp_path, CONTENT))
    answers = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
    texts = [(name, pa.string()) for name in ("id", "title", "context", "question")]
    schema = pa.schema([*texts, ("answers", answers)])
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), tmp_path / "dev.parquet")
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read_rows(tmp_path / "dev.parquet") == rows
    assert read_rows(tmp_path / "dev.jsonl") == rows


@pytest.mark.parametrize(("version", "questions", "unanswerable"), [("1.1", 10570, 0), ("2.0", 11873, 5945)])
def test_the_published_development_sets_are_read_whole(version, questions, unanswerable):
    rows = read_squad(shared_data(f"squad/dev-v{version}.json"))
    assert len(rows) == len({row["id"] for row in rows}) == questions
    assert sum(not row["answers"]["text"] for row in rows) == unanswerable
