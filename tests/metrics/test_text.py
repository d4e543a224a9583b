"""Text metrics give what their libraries publish."""

import doctest
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU

from tests.imports import SOURCE
from tunediff.metrics import text as module
from tunediff.metrics.text import (
    bleu_counts,
    bleu_dictionary,
    corpus_bleu,
    is_latin,
    meteor_cases,
    meteor_name,
    rouge_cases,
    text_scores,
    words,
)
from tunediff.runtime.errors import TunediffError

# The example of sacrebleu's README: two references a sentence, BLEU = 48.530827009929865.
SYSTEM = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
REFERENCES = [
    ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
    ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
]


def test_the_documented_examples_hold():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


def test_bleu_is_that_of_the_example_in_sacrebleu_s_readme():
    found = bleu_dictionary(bleu_counts(list(zip(*REFERENCES, strict=True)), SYSTEM).sum(axis=0))
    assert found["bleu"] == pytest.approx(48.530827009929865, rel=1e-12)
    # Its signature line: BLEU = 48.53 82.4/50.0/45.5/37.5 (BP = 0.943 ratio = 0.944 hyp_len = 17 ref_len = 18)
    assert [found[f"bleu_precision_{order}"] for order in range(1, 5)] == pytest.approx(
        [82.4, 50, 45.5, 37.5], abs=0.06
    )
    assert found["bleu_brevity_penalty"] == pytest.approx(0.943, abs=5e-4)
    assert (found["bleu_system_length"], found["bleu_reference_length"]) == (17, 18)


WORDS = st.lists(st.sampled_from(["the", "a", "cat", "dog", "sat", "on", "mat", "."]), max_size=9).map(" ".join)
CORPUS = st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=3), WORDS), min_size=1, max_size=6)


@given(CORPUS)
def test_bleu_from_counts_is_that_of_the_whole_corpus(corpus):
    references, predictions = [pair[0] for pair in corpus], [pair[1] for pair in corpus]
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(max(map(len, references)))]
    theirs = BLEU().corpus_score(predictions, streams)
    sums = bleu_counts(references, predictions).sum(axis=0)
    found = bleu_dictionary(sums)
    assert found["bleu"] == pytest.approx(theirs.score)
    assert [found[f"bleu_precision_{order}"] for order in range(1, 5)] == pytest.approx(theirs.precisions)
    assert (found["bleu_brevity_penalty"], found["bleu_system_length"]) == (pytest.approx(theirs.bp), theirs.sys_len)
    assert corpus_bleu(sums[None])[0] == pytest.approx(theirs.score, abs=1e-9)


COUNTS = st.lists(st.tuples(*[st.integers(0, 5)] * 4, st.integers(0, 30)), min_size=1, max_size=5)


@given(COUNTS)
def test_bleu_of_many_corpora_at_once_is_sacrebleu_s_of_each(rows):
    table = []
    for *shared, reference in rows:
        runs = np.cumsum(shared[::-1])[::-1]  # at least as many runs as shared ones, fewer of each order
        table.append([runs[0], reference, *shared, *runs])
    expected = [bleu_dictionary(np.array(row))["bleu"] for row in table]
    assert corpus_bleu(np.array(table, dtype=float)) == pytest.approx(np.array(expected), abs=1e-9)


def test_rouge_is_that_of_the_example_in_the_readme_of_rouge_score():
    # precision, recall and F of ROUGE-1 and ROUGE-L, as the README's example prints them
    found = rouge_cases([["The quick brown fox jumps over the lazy dog"]], ["The quick brown dog jumps on the log."])
    assert found["rouge1"].tolist() == pytest.approx([0.7058823529411765])  # 6 of 8, 6 of 9
    assert found["rougeL"].tolist() == pytest.approx([0.5882352941176471])  # 5 of 8, 5 of 9


def test_rouge_takes_the_best_reference_for_each_of_its_kinds():
    # The example in the documentation of evaluate's rouge: {'rouge1': 0.8333333333333333, 'rouge2': 0.5, ...}
    references = [["hello", "there"], ["general kenobi", "general yoda"]]
    found = {name: scores.mean() for name, scores in rouge_cases(references, ["hello there", "general kenobi"]).items()}
    assert found == pytest.approx({"rouge1": 5 / 6, "rouge2": 0.5, "rougeL": 5 / 6, "rougeLsum": 5 / 6})


def test_rouge_lsum_takes_lines_for_sentences():
    found = rouge_cases([["a b\nc d"]], ["c d\na b"])
    assert (found["rougeL"][0], found["rougeLsum"][0]) == (0.5, 1.0)


@pytest.fixture
def no_wordnet(monkeypatch):
    monkeypatch.setattr(module, "_wordnet", lambda: None)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        # The examples of the METEOR article of Wikipedia, all by exact matches of the reference.
        ("the cat sat on the mat", 0.9977),
        ("the cat was sat on the mat", 0.9654),
    ],
)
def test_meteor_without_synonyms_is_that_of_published_examples(no_wordnet, prediction, expected):
    assert meteor_name() == "meteor_without_synonyms"
    found = meteor_cases([["the cat sat on the mat"]], [prediction])
    assert found.tolist() == pytest.approx([expected], abs=5e-5)


def test_meteor_without_synonyms_knows_stems_and_no_synonyms(no_wordnet):
    stem, synonym, case = meteor_cases([["dogs running"]] * 3, ["dog runs", "hounds running", "DOGS Running"])
    assert stem == pytest.approx(1 - 0.5 / 8)
    assert case == stem
    # One of two words: precision and recall 1/2, one chunk of one word.
    assert synonym == pytest.approx(0.5 * (1 - 0.5))


# The lexicographer files of WordNet 3.0 in their order (lexnames(5WN)): Debian leaves the list out, nltk reads it.
LEXNAMES = {
    "adj": "all pert",
    "adv": "all",
    "noun": (
        "Tops act animal artifact attribute body cognition communication event feeling food group location motive "
        "object person phenomenon plant possession process quantity relation shape state substance time"
    ),
    "verb": (
        "body change cognition communication competition consumption contact creation emotion motion perception "
        "possession social stative weather"
    ),
    "adj ": "ppl",
}
PARTS_OF_SPEECH = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
IN_NLTK_S_DOCUMENTATION = """
from tunediff.metrics.text import meteor_cases, meteor_name
prediction = "It is a guide to action which ensures that the military always obeys the commands of the party"
references = [
    "It is a guide to action that ensures that the military will forever heed Party commands",
    "It is the guiding principle which guarantees the military forces always being under the command of the Party",
    "It is the practical guide for the army always to heed the directions of the party",
]
print(meteor_name(), meteor_cases([references], [prediction]).tolist()[0])
"""


@pytest.fixture
def nltk_data(tmp_path):
    """A folder where nltk finds WordNet; None where it finds it already."""
    if meteor_name() == "meteor":
        return None
    debian = Path("/usr/share/wordnet")
    if not (debian / "index.sense").exists():
        pytest.skip("there is no WordNet on this machine: neither nltk's nor Debian's wordnet-sense-index")
    folder = tmp_path / "corpora/wordnet"
    shutil.copytree(debian, folder)
    names = [(part.strip(), name) for part, all_of_it in LEXNAMES.items() for name in all_of_it.split()]
    lines = [f"{at:02}\t{part}.{name}\t{PARTS_OF_SPEECH[part]}\n" for at, (part, name) in enumerate(names)]
    (folder / "lexnames").write_text("".join(lines))
    return tmp_path


@pytest.mark.slow
def test_meteor_is_that_of_nltk_s_documentation(nltk_data):
    # In a process of its own: WordNet once found stays found.
    env = os.environ | {"PYTHONPATH": str(SOURCE)} | ({} if nltk_data is None else {"NLTK_DATA": str(nltk_data)})
    done = subprocess.run(
        [sys.executable, "-c", IN_NLTK_S_DOCUMENTATION], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    name, value = done.stdout.split()
    assert name == "meteor"
    assert float(value) == pytest.approx(0.6944, abs=5e-5)


def test_the_scores_are_flat_and_an_empty_prediction_is_a_text_without_words():
    found = text_scores([["Paris"], ["in Rome", "Rome"]], ["", "Rome"])
    rouge = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    precisions = [f"bleu_precision_{order}" for order in range(1, 5)]
    lengths = ["bleu_brevity_penalty", "bleu_system_length", "bleu_reference_length"]
    assert list(found) == ["bleu", *precisions, *lengths, *rouge, meteor_name()]
    assert (found["rouge1"], found["bleu_system_length"], found["bleu_reference_length"]) == (0.5, 1, 2)


def test_a_text_without_a_reference_is_refused():
    with pytest.raises(TunediffError, match="text 2: found no reference"):
        text_scores([["Paris"], []], ["Paris", ""])
    with pytest.raises(TunediffError, match="no text to score"):
        text_scores([], [])


@pytest.mark.parametrize(
    "text",
    [
        "東京タワー",
        "我爱北京天安门。",
        "กรุงเทพมหานคร",
        "Москва является столицей России",
        "القاهرة هي عاصمة مصر",
        "서울은 대한민국의 수도 이다",
        "नई दिल्ली भारत की राजधानी",
        "η Αθήνα είναι πρωτεύουσα",
    ],
)
def test_a_right_answer_in_any_script_has_full_marks_and_a_wrong_one_none(text):
    found = text_scores([[text]] * 3, [text] * 3)
    assert found["bleu"] == pytest.approx(100)
    assert [found[name] for name in ("rouge1", "rouge2", "rougeL", "rougeLsum")] == [1, 1, 1, 1]
    assert found[meteor_name()] > 0.99
    wrong = text_scores([[text]] * 3, ["no"] * 3)
    assert [wrong[name] for name in ("bleu", "rouge1", meteor_name())] == [0, 0, 0]


@given(st.text("我爱北京天安门上海。,", min_size=1))
def test_chinese_is_divided_as_sacrebleu_divides_it(text):
    divided = BLEU(effective_order=True).sentence_score(words(text), [words(text)])
    theirs = BLEU(tokenize="zh", effective_order=True).sentence_score(text, [text])
    assert divided.sys_len == theirs.sys_len


def test_part_of_an_answer_scores_its_characters():
    found = rouge_cases([["北京天安门"]], ["北京"])
    assert found["rouge1"].tolist() == pytest.approx([2 * (1 * 0.4) / 1.4])


def test_few_texts_in_other_letters_leave_a_corpus_as_the_libraries_read_it():
    references = [["the cat sat on the café mat"]] * 39 + [["東京"]]
    predictions = ["the cat sat on a cafe mat"] * 39 + ["東京"]
    assert is_latin(references)
    theirs = RougeScorer(["rouge1"], use_stemmer=False)
    pairs = zip(references, predictions, strict=True)
    expected = [theirs.score(gold[0], given)["rouge1"].fmeasure for gold, given in pairs]
    assert rouge_cases(references, predictions)["rouge1"].tolist() == expected
    assert not is_latin([["the cat"]] * 9 + [["東京"]])


def test_a_mark_belongs_to_its_character():
    assert words("กี่") == "กี่"
    assert words("か\u3099") == "か\u3099"
