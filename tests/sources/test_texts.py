"""Text for pretraining: the sentences of a file, each once, or a world's own."""

import json

import pytest

from tests.shared_data import shared_data
from tunediff.errors import TunediffError
from tunediff.sections import Pretrain
from tunediff.sources.texts import read_texts

ROWS = [
    {"premise": "A man sleeps.", "hypothesis": " Nobody sleeps. ", "label": 2},
    {"premise": "A man sleeps.", "hypothesis": "A man rests.", "label": 0},
    {"premise": "A man sleeps. ", "hypothesis": "Nobody sleeps.", "label": 2},
    {"premise": "Two dogs run.\u2028They bark.", "hypothesis": "Dogs run.", "label": 0},
]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return tmp_path / "train.jsonl"


def files(path, *columns, **keys):
    return Pretrain(path=str(path), text="files", columns=list(columns), **keys)


def world(**keys):
    return Pretrain(path="data/raw", text="world", world="captions", **keys)


def test_each_text_is_read_once_in_the_order_of_the_rows(path):
    assert read_texts(files(path, "premise", "hypothesis"), path) == [
        "A man sleeps.",
        "Nobody sleeps.",
        "A man rests.",
        "Two dogs run.\u2028They bark.",
        "Dogs run.",
    ]
    assert read_texts(files(path, "hypothesis"), path) == ["Nobody sleeps.", "A man rests.", "Dogs run."]


def test_no_more_documents_are_read_than_asked(path):
    assert read_texts(files(path, "premise", "hypothesis", documents=2), path) == ["A man sleeps.", "Nobody sleeps."]
    assert len(read_texts(files(path, "premise", documents=100), path)) == 2


def test_other_columns_are_not_read(path):
    # A column of answers would teach the base model the task.
    assert not {"0", "2"} & set(read_texts(files(path, "premise", "hypothesis"), path))


def test_a_missing_column_is_named_with_its_row_and_those_there_are(path):
    with pytest.raises(TunediffError) as caught:
        read_texts(files(path, "premise", "sentence"), path)
    [line] = caught.value.args
    assert line.startswith(f"{path}, row 1: ")
    assert "sentence" in line
    assert "premise, hypothesis, label" in line


@pytest.mark.parametrize("value", [None, "", " \n", 2, ["A man sleeps."]])
def test_a_row_without_text_is_refused_with_its_line_and_column(value, tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [{"premise": "A man sleeps."}, {"premise": value}]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    with pytest.raises(TunediffError) as caught:
        read_texts(files(path, "premise"), path)
    assert caught.value.args == (f"{path}, row 3: premise: found {value!r}, expected text that is not empty",)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TunediffError, match="there is no such file"):
        read_texts(files(tmp_path / "x.jsonl", "premise"), tmp_path / "x.jsonl")


def test_a_world_writes_as_many_documents_as_asked_and_the_same_for_the_same_seed(tmp_path):
    one, again, other = (read_texts(world(documents=40, seed=seed), tmp_path) for seed in (1, 1, 2))
    assert len(one) == 40
    assert one == again != other
    assert all(text.strip() == text and text for text in one)


def test_the_text_of_the_world_holds_no_answer_to_the_task(tmp_path):
    text = " ".join(read_texts(world(documents=300, seed=1), tmp_path)).lower()
    for word in ("entail", "contradict", "neutral", "premise", "hypothesis", "answer"):
        assert word not in text


def test_snlis_own_sentences_are_read():
    path = shared_data("snli/train_18k.jsonl")
    texts = read_texts(files(path, "premise", "hypothesis"), path)
    assert len(texts) == len(set(texts)) > 18_000
    assert all(text.strip() for text in texts)
