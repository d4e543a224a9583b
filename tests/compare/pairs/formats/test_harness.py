import pytest

from tests.harness_samples import choice_sample, generation_sample, read
from tunediff.compare.pairs.formats.harness import is_sample
from tunediff.runtime.errors import TunediffError


def test_arguments_of_older_versions_are_lists_and_hashes_may_be_missing():
    row = choice_sample(0, 0, [-1.5, -0.3], 0.0, choices=(" yes", " no"), arguments=[["P?", " yes"], ["P?", " no"]])
    for key in ("doc_hash", "prompt_hash", "filter", "metrics"):
        row.pop(key)
    frame = read(row).frame
    assert frame["prompt"].tolist() == ["P?"]
    assert frame["prediction"].tolist() == ["no"]
    assert len(frame["prompt_hash"].iloc[0]) == len(frame["doc_hash"].iloc[0]) == 16


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
        ({"acc": 0.5}, r"row 1: acc: found 0.5, expected 0 or 1 \(or --threshold, .*; the metrics are acc, acc_norm"),
        ({"acc": [-3.2, 5]}, r"row 1: acc: found \[-3.2, 5\], expected 0 or 1"),
        ({"metrics": [], "acc": None}, r"row 1: acc: found None, expected 0 or 1"),
    ],
)
def test_a_metric_that_is_not_right_or_wrong_is_refused(change, message):
    with pytest.raises(TunediffError, match=message):
        read(choice_sample(0, 0, [-1, -2, -3], 1.0) | change)


def test_a_row_of_another_kind_is_refused():
    assert not is_sample({"doc_id": 1})
    with pytest.raises(TunediffError, match="row 2: found a row that is not a sample"):
        read(choice_sample(0, 0, [-1, -2, -3], 1.0), {"doc_id": 1})


@pytest.mark.parametrize("metric", ["mcc", "f1"])
def test_a_metric_of_gold_and_predicted_choice_is_right_where_they_agree(metric):
    rows = [
        choice_sample(n, n % 2, [-2.0, -1.0], 0.0, choices=(" no", " yes"), metrics=[metric]) | {metric: [n % 2, 1]}
        for n in range(6)
    ]
    found = read(*rows)
    assert found.frame["outcome"].tolist() == ["wrong", "right"] * 3
    assert found.frame["prediction"].tolist() == ["yes"] * 6
    assert found.labels == ("no", "yes")


def test_one_continuation_of_several_prompts_is_right_or_something_else():
    # As in winogrande, where the choices are in the prompts.
    row = choice_sample(0, "was big.", [-1, -2], 0.0)
    arguments = {f"gen_args_{n}": {"arg_0": f"The {who}", "arg_1": " was big."} for n, who in enumerate(("cat", "dog"))}
    frame = read(row | {"arguments": arguments}, row | {"doc_id": 1, "acc": 1.0, "arguments": arguments}).frame
    assert frame["prediction"].tolist() == ["(not the target)", "was big."]


def test_squadv2_is_compared_by_exact_match_and_f1():
    def sample(n, text, *answers):
        pair = [{"id": str(n), "prediction_text": text, "no_answer_probability": 0.1}]
        pair.append({"id": str(n), "answers": {"text": list(answers), "answer_start": [0] * len(answers)}})
        arguments = {
            "gen_args_0": {"arg_0": "Title", "arg_1": {"until": ["\n"]}},
            "gen_args_1": {"arg_0": "Title", "arg_1": " unanswerable"},
        }
        row = generation_sample(n, text, None, "none", metrics=["exact", "f1"], arguments=arguments)
        return row | {"exact": pair, "f1": pair, "filtered_resps": [text, ["-4.75", "False"]]}

    found = read(sample(0, "the Paris", "Paris"), sample(1, "in Rome", "Rome"), sample(2, ""), sample(3, "Oslo"))
    assert found.frame["outcome"].tolist() == ["right", "wrong", "right", "wrong"]
    assert found.frame["f1"].tolist() == pytest.approx([1, 2 / 3, 1, 0])
    assert found.frame["label"].tolist() == ["answerable"] * 2 + ["unanswerable"] * 2
    assert [[answer.text for answer in gold] for gold in found.frame["answers"]] == [["Paris"], ["Rome"], [], []]
    assert found.same == ("doc_hash", "answers")


def test_answers_that_are_words_of_truth_are_no_likelihoods():
    rows = [generation_sample(n, None, 1.0, "none", target="True", filtered_resps=[["True", "True"]]) for n in range(3)]
    assert read(*rows).frame["prediction"].tolist() == ["True"] * 3
    different = generation_sample(0, None, 0.0, "none", filtered_resps=[["5", "7"]])
    assert read(different).frame["prediction"].tolist() == ['["5", "7"]']
    silent = generation_sample(0, None, 0.0, "none", filtered_resps=[["[invalid]", ""]])
    assert read(silent).frame["outcome"].tolist() == ["invalid"]


def test_filters_without_a_name_are_called_by_their_place():
    rows = [generation_sample(n, answer, 0.0) for answer in ("[invalid]", "7") for n in range(3)]
    for row in rows:
        del row["filter"], row["metrics"]
    with pytest.raises(TunediffError, match=r"filter: found 1, 2, which have no names .* expected one of them"):
        read(*rows)
    assert read(*rows, filter_name="1").frame["outcome"].tolist() == ["invalid"] * 3
    assert read(*rows, filter_name="2").frame["outcome"].tolist() == ["wrong"] * 3
    # One document more often than the others is a mistake, which pairing refuses.
    assert read(*rows[:4]).frame["case_id"].tolist() == ["0", "1", "2", "0"]
