import json

import pytest

from tunediff.compare.pairs.harness import is_sample, read_samples
from tunediff.runtime.errors import TunediffError


def choice_sample(doc_id, target, likelihoods, acc, choices=(" True", " Neither", " False"), **changes):
    """A line as lm-evaluation-harness 0.4 writes it for a multiple-choice task."""
    prompt = f"Premise {doc_id}. Question: x. True, False, or Neither?\nAnswer:"
    return {
        "doc_id": doc_id,
        "doc": {"premise": f"Premise {doc_id // 2}.", "hypothesis": "x", "label": 0},
        "target": str(target),
        "arguments": {f"gen_args_{i}": {"arg_0": prompt, "arg_1": choice} for i, choice in enumerate(choices)},
        "resps": [[[str(value), "False"]] for value in likelihoods],
        "filtered_resps": [[str(value), "False"] for value in likelihoods],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": f"d{doc_id}",
        "prompt_hash": f"p{doc_id}",
        "target_hash": "t",
        "acc": acc,
        "acc_norm": acc,
    } | changes


def generation_sample(doc_id, answer, right, filter_name="strict-match", **changes):
    """A line as it writes it for gsm8k: every document once for each filter."""
    return {
        "doc_id": doc_id,
        "doc": {"question": "How many?", "answer": "#### 18"},
        "target": "So 18.\n#### 18",
        "arguments": {"gen_args_0": {"arg_0": "Question: How many?\nAnswer:", "arg_1": {"until": ["Question:"]}}},
        "resps": [["It is 18.\n#### 18"]],
        "filtered_resps": [answer],
        "filter": filter_name,
        "metrics": ["exact_match"],
        "doc_hash": f"d{doc_id}",
        "prompt_hash": f"p{doc_id}",
        "target_hash": "t",
        "exact_match": right,
    } | changes


def read(*rows, **options):
    # As from a file: JSON has no tuples.
    return read_samples(enumerate(json.loads(json.dumps(rows)), start=1), "samples.jsonl", **options)


def test_choices_that_are_the_same_in_every_case_become_labels():
    found = read(choice_sample(0, 0, [-1.5, -0.3, -2], 0.0), choice_sample(1, 2, [-9, -8, -0.1], 1.0))
    assert found.labels == ("True", "Neither", "False")
    frame = found.frame
    assert frame["label"].tolist() == ["True", "False"]
    assert frame["prediction"].tolist() == ["Neither", "False"]
    assert frame["outcome"].tolist() == ["wrong", "right"]
    assert frame["case_id"].tolist() == ["0", "1"]
    assert frame["prompt_hash"].tolist() == ["p0", "p1"]
    assert frame["scorer"].tolist() == ["acc, filter none"] * 2
    assert found.scores.tolist() == [[-1.5, -0.3, -2.0], [-9.0, -8.0, -0.1]]
    assert found.inputs == ("prompt",)
    assert frame["prompt"].iloc[0].startswith("Premise 0. Question")


def test_choices_of_their_own_in_every_case_keep_their_number():
    found = read(
        choice_sample(0, 1, [-2, -1], 1.0, choices=(" a cat", " a dog")),
        choice_sample(1, 0, [-2, -1], 0.0, choices=(" red", " blue")),
    )
    assert found.labels == ("0", "1")
    assert found.frame["label"].tolist() == ["1", "0"]
    assert found.frame["prediction"].tolist() == ["1", "1"]


def test_a_target_in_words_is_compared_in_words():
    found = read(
        choice_sample(0, "a dog", [-2, -1], 1.0, choices=(" a cat", " a dog")),
        choice_sample(1, "red", [-2, -1], 0.0, choices=(" red", " blue")),
    )
    assert found.frame["label"].tolist() == ["a dog", "red"]
    assert found.frame["prediction"].tolist() == ["a dog", "blue"]
    assert (found.labels, found.scores) == (None, None)


def test_normalised_accuracy_divides_by_the_length_of_the_choice():
    row = choice_sample(0, 1, [-2.0, -3.0], 0.0, choices=(" cat", " elephants"), acc_norm=1.0)
    assert read(row).frame["prediction"].tolist() == ["cat"]
    assert read(row, metric="acc_norm").frame["prediction"].tolist() == ["elephants"]
    assert read(row, metric="acc_norm").frame["outcome"].tolist() == ["right"]


def test_arguments_of_older_versions_are_lists_and_hashes_may_be_missing():
    row = choice_sample(0, 0, [-1.5, -0.3], 0.0, choices=(" yes", " no"), arguments=[["P?", " yes"], ["P?", " no"]])
    for key in ("doc_hash", "prompt_hash", "filter", "metrics"):
        row.pop(key)
    frame = read(row).frame
    assert frame["prompt"].tolist() == ["P?"]
    assert frame["prediction"].tolist() == ["no"]
    assert len(frame["prompt_hash"].iloc[0]) == len(frame["doc_hash"].iloc[0]) == 16


def test_mutual_information_scores_every_choice_twice_and_the_first_half_counts():
    row = choice_sample(0, 0, [-1, -2, -9, -0.1], 1.0, choices=(" yes", " no", " yes", " no"), acc_mutual_info=0.0)
    found = read(row)
    assert found.frame["prediction"].tolist() == ["yes"]
    assert found.scores.shape == (1, 2)


def test_of_several_filters_one_must_be_named():
    rows = [
        generation_sample(0, "18", 1.0),
        generation_sample(0, "18", 1.0, "flexible-extract"),
        generation_sample(1, "[invalid]", 0.0),
        generation_sample(1, "7", 0.0, "flexible-extract"),
    ]
    with pytest.raises(TunediffError, match=r"filter: found flexible-extract, strict-match, expected one of them"):
        read(*rows)
    with pytest.raises(TunediffError, match=r"expected one of them as --filter instead of none"):
        read(*rows, filter_name="none")
    strict, flexible = (read(*rows, filter_name=name).frame for name in ("strict-match", "flexible-extract"))
    assert strict["outcome"].tolist() == ["right", "invalid"]
    assert strict["prediction"].isna().tolist() == [False, True]
    assert flexible["outcome"].tolist() == ["right", "wrong"]


def test_a_single_continuation_is_right_or_something_else():
    rows = [choice_sample(i, "dog", [-1.0], acc, choices=(" dog",), metrics=["acc"]) for i, acc in enumerate((1, 0))]
    frame = read(*rows).frame
    assert frame["prediction"].tolist() == ["dog", "(not the target)"]
    assert frame["outcome"].tolist() == ["right", "wrong"]


def test_a_field_of_the_document_can_be_the_cluster():
    rows = [choice_sample(i, 0, [-1, -2, -3], 1.0) for i in range(4)]
    found = read(*rows, cluster="premise")
    assert found.frame["cluster"].tolist() == ["Premise 0.", "Premise 0.", "Premise 1.", "Premise 1."]
    with pytest.raises(TunediffError, match=r"row 1: doc: found no field passage among 'premise, hypothesis, label'"):
        read(*rows, cluster="passage")
    with pytest.raises(TunediffError, match=r"row 1: doc: found \[.*, expected an object with the field premise"):
        read(rows[0] | {"doc": [rows[0]["doc"]]}, cluster="premise")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc": 0.5}, r"row 1: acc: found 0.5, expected 0 or 1; the metrics are acc, acc_norm"),
        ({"acc": [-3.2, 5]}, r"row 1: acc: found \[-3.2, 5\], expected 0 or 1"),
        ({"metrics": [], "acc": None}, r"row 1: acc: found None, expected 0 or 1"),
    ],
)
def test_a_metric_that_is_not_right_or_wrong_is_refused(change, message):
    with pytest.raises(TunediffError, match=message):
        read(choice_sample(0, 0, [-1, -2, -3], 1.0) | change)


def test_what_is_no_likelihood_is_named_and_an_infinite_one_gives_no_scores():
    row = choice_sample(0, 0, [-1, "-inf", -3], 1.0)
    found = read(row)
    assert found.scores is None
    assert found.frame["prediction"].tolist() == ["True"]
    with pytest.raises(TunediffError, match=r"row 1: filtered_resps: found .*'x'.*, expected log-likelihoods"):
        read(choice_sample(0, 0, [-1, "x", -3], 1.0))


def test_a_file_without_the_texts_of_its_choices_keeps_their_numbers():
    row = choice_sample(0, 2, [-3, -2, -1], 1.0, arguments=None)
    for metric in ("acc", "acc_norm"):
        frame = read(row, metric=metric).frame
        assert (frame["label"].tolist(), frame["prediction"].tolist()) == (["2"], ["2"])


def test_a_row_of_another_kind_is_refused():
    assert not is_sample({"doc_id": 1})
    with pytest.raises(TunediffError, match="row 2: found no sample"):
        read(choice_sample(0, 0, [-1, -2, -3], 1.0), {"doc_id": 1})
