"""Text for pretraining: the sentences of a file, each once, or a world's own."""

import json
from pathlib import Path

import pytest

from tests.shared_data import shared_data
from tunediff.config.pretrain import Pretrain
from tunediff.data.sources import Row
from tunediff.pretraining import texts as module
from tunediff.pretraining.texts import Texts, read_texts, wikitext_articles
from tunediff.runtime.errors import TunediffError

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


def columns(path, *names, **keys):
    return Pretrain(path=str(path), text="columns", columns=list(names), **keys)


def world(**keys):
    return Pretrain(path="data/raw", text="synthetic", synthetic="captions", **keys)


def of_files(folder, text, train, validation=None, **keys):
    section = Pretrain(path=str(folder), text=text, files={"train": train, "validation": validation}, **keys)
    return read_texts(section, folder)


def test_each_text_is_read_once_in_the_order_of_the_rows(path):
    train, validation = read_texts(columns(path, "premise", "hypothesis"), path)
    expected = ["A man sleeps.", "Nobody sleeps.", "A man rests.", "Two dogs run.\u2028They bark.", "Dogs run."]
    assert len(validation) == 2
    assert not set(train) & set(validation)
    assert train == [text for text in expected if text not in validation]
    assert validation == [text for text in expected if text in validation]


def test_no_more_documents_are_learned_from_than_asked(path):
    whole = read_texts(columns(path, "premise", "hypothesis"), path)
    some = read_texts(columns(path, "premise", "hypothesis", documents=2), path)
    assert some == Texts(whole.train[:2], whole.validation)
    assert read_texts(columns(path, "premise", "hypothesis", documents=100), path) == whole


def test_other_columns_are_not_read(path):
    # A column of answers would teach the base model the task.
    train, validation = read_texts(columns(path, "premise", "hypothesis"), path)
    assert not {"0", "2"} & {*train, *validation}


def test_a_missing_column_is_named_with_its_row_and_those_there_are(path):
    with pytest.raises(TunediffError) as caught:
        read_texts(columns(path, "premise", "sentence"), path)
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
        read_texts(columns(path, "premise"), path)
    assert caught.value.args == (f"{path}, row 3: premise: found {value!r}, expected text that is not empty",)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TunediffError, match="there is no such file"):
        read_texts(columns(tmp_path / "x.jsonl", "premise"), tmp_path / "x.jsonl")


def test_too_few_documents_are_refused_with_the_number_there_is(path):
    with pytest.raises(TunediffError) as caught:
        read_texts(columns(path, "hypothesis"), path)  # three, of which two are held out
    assert caught.value.args == (
        f"{path}: found 1 documents to learn from, expected at least 2 (pretrain.text columns)",
    )


# Held out


def test_the_share_that_is_asked_for_is_held_out_whatever_the_order_of_the_file(tmp_path):
    documents = [f"Document {number}." for number in range(200)]
    (tmp_path / "a.txt").write_text("\n\n".join(documents))
    (tmp_path / "b.txt").write_text("\n\n".join(reversed(documents)))
    train, held_out = of_files(tmp_path, "plain", "a.txt", held_out=0.1)
    assert len(held_out) == 20
    assert sorted([*train, *held_out]) == sorted(documents)
    assert set(of_files(tmp_path, "plain", "b.txt", held_out=0.1).validation) == set(held_out)
    assert set(of_files(tmp_path, "plain", "a.txt", held_out=0.1, seed=2).validation) != set(held_out)


def test_a_document_to_validate_on_is_never_learned_from(tmp_path):
    (tmp_path / "train.txt").write_text("One.\n\nTwo.\n\nThree.\n\nFour.")
    (tmp_path / "other.txt").write_text("Two.\n\nFive.")
    assert of_files(tmp_path, "plain", "train.txt", "other.txt") == Texts(
        ["One.", "Three.", "Four."], ["Two.", "Five."]
    )


def test_lines_between_empty_ones_are_a_document(tmp_path):
    (tmp_path / "a.txt").write_text("\nOne.\nTwo. \n\n \nThree.\n\n\nFour.\n")
    (tmp_path / "b.txt").write_text("Five.\n\nSix.")
    assert of_files(tmp_path, "plain", "a.txt", "b.txt").train == ["One.\nTwo.", "Three.", "Four."]


# WikiText

ARTICLES = """
 = First =

 It has two @-@ part text , 1 @,@ 000 words .
 = 1 henry and C =
 And a formula .

 = = A section = =

 = = = Within it = = =

 More .

 = Second @-@ best =

 The <unk> end .
"""
READ = [
    "First\nIt has two-part text , 1,000 words .\n= 1 henry and C =\nAnd a formula .\nA section\nWithin it\nMore .",
    "Second-best\nThe <unk> end .",
]


def test_an_article_starts_at_its_title_and_not_at_a_section_or_formula():
    assert list(wikitext_articles(ARTICLES.split("\n"))) == READ


def test_wikitext_of_the_hub_reads_as_the_file_does(monkeypatch):
    asked = []

    def rows(id, config, revision, split):
        asked.append((id, config, revision, split))
        text = ARTICLES.replace("part", "hub") if split == "train" else ARTICLES
        lines = (text + ARTICLES.replace("end", split)).split("\n")
        return [Row({"text": line and f"{line}\n"}, "hub", number) for number, line in enumerate(lines, start=1)]

    monkeypatch.setattr(module, "dataset_rows", rows)
    hub = {"id": "Salesforce/wikitext", "config": "wikitext-2-raw-v1", "revision": 40 * "b"}
    section = Pretrain(path="data/raw", text="wikitext", hub=hub)
    found = read_texts(section, Path("data/raw"))
    assert asked == [(*hub.values(), split) for split in ("train", "validation")]
    assert found.validation == [*READ, READ[0], READ[1].replace("end", "validation")]
    assert found.train == [READ[0].replace("part", "hub"), READ[1].replace("end", "train")]
    monkeypatch.setattr(module, "dataset_rows", lambda *_: [Row({"line": "x"}, "hub", 1)])
    with pytest.raises(TunediffError, match="hub, row 1: text: found None, expected a line of WikiText"):
        read_texts(section, Path("data/raw"))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("wiki.valid.tokens", "Homarus gammarus"),
        ("wiki.test.raw", "Robert Boulter"),
        ("wiki.test.tokens", "Robert <unk>"),
    ],
)
def test_wikitext_2_has_the_sixty_articles_that_its_paper_counts(name, first):
    # Merity et al. 2016, "Pointer Sentinel Mixture Models", table 1: 600 to learn from, 60 and 60.
    lines = shared_data(f"wikitext2/{name}").read_text(encoding="utf-8").split("\n")
    articles = list(wikitext_articles(lines))
    assert len(articles) == 60
    assert articles[0].startswith(f"{first}\n")
    assert not any(mark in article for article in articles for mark in (" @-@ ", " @,@ ", " = = "))
    # No word is lost but the signs of headings.
    words = sum(line.count(" ") for line in articles) + sum(article.count("\n") + 1 for article in articles)
    joined = sum(line.count(f" @{sign}@ ") for line in lines for sign in "-,.")
    assert abs(words - sum(len([w for w in line.split() if w != "="]) for line in lines) + 2 * joined) < 200


# A world


def test_a_world_writes_as_many_documents_as_asked_and_the_same_for_the_same_seed(tmp_path):
    one, again, other = (read_texts(world(documents=40, seed=seed), tmp_path) for seed in (1, 1, 2))
    assert len(one.train) == 40
    assert one == again != other
    assert all(text.strip() == text and text for text in [*one.train, *one.validation])


def test_a_world_writes_further_documents_to_validate_on(tmp_path):
    few, many = (read_texts(world(documents=300, seed=1, held_out=share), tmp_path) for share in (0.01, 0.2))
    assert few.train == many.train
    assert len(few.validation) == 3
    assert 50 < len(many.validation) <= 60
    assert not set(many.train) & set(many.validation)


def test_the_text_of_the_world_holds_no_answer_to_the_task(tmp_path):
    train, validation = read_texts(world(documents=300, seed=1), tmp_path)
    text = " ".join([*train, *validation]).lower()
    for word in ("entail", "contradict", "neutral", "premise", "hypothesis", "answer"):
        assert word not in text


def test_snlis_own_sentences_are_read():
    path = shared_data("snli/train_18k.jsonl")
    train, validation = read_texts(columns(path, "premise", "hypothesis"), path)
    texts = [*train, *validation]
    assert len(texts) == len(set(texts)) > 18_000
    assert all(text.strip() for text in texts)
