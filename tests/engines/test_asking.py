"""One prediction row a case, whatever the scorer and whatever the model says."""

import numpy as np
import pandas as pd
import pytest

from tests.tiny import CASES, CHOICES, LABELS, PROMPT, TASK, load, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.cases import PREDICTION_COLUMNS, read_predictions, write_predictions
from tunediff.engines import asking as answers
from tunediff.engines.asking import predict_cases
from tunediff.runtime.errors import TunediffError


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("lm")
    return load(folder / "base", write_model(folder / "model", "llama", tokenizer))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, bert_tokenizer):
    folder = tmp_path_factory.mktemp("classifier")
    return load(folder / "base", write_model(folder / "model", "bert", bert_tokenizer, "none"), head="classification")


def predict(loaded, scorer, cases=CASES, prompt=PROMPT, **keys):
    return predict_cases(loaded, cases, TASK, prompt, Evaluate(scoring_method=scorer, **keys), "test")


def check_rows(frame, cases=CASES):
    assert list(frame.columns) == list(PREDICTION_COLUMNS)
    assert frame["case_id"].tolist() == [case.case_id for case in cases]
    assert frame["label"].tolist() == [case.label for case in cases]
    probabilities = np.exp(np.array(frame["log_probs"].tolist()))
    assert probabilities.shape == (len(cases), len(LABELS))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    assert (frame["outcome"] == "right").tolist() == (frame["prediction"] == frame["label"]).tolist()


@pytest.mark.parametrize("scorer", ["choices", "head"])
def test_the_most_likely_label_is_the_prediction(scorer, loaded, classifier):
    frame = predict(loaded, "choices") if scorer == "choices" else predict(classifier, "head", prompt=Prompt())
    check_rows(frame)
    assert frame["prediction"].tolist() == [LABELS[int(np.argmax(row))] for row in frame["log_probs"]]
    assert set(frame["finish_reason"]) == {"none"}
    assert set(frame["scorer"]) == {scorer}
    assert set(frame["outcome"]) <= {"right", "wrong"}
    texts = CHOICES if scorer == "choices" else {label: label for label in LABELS}
    assert frame["text"].tolist() == [texts[label] for label in frame["prediction"]]
    assert frame["n_tokens"].between(5, 64).all()


def test_an_answer_that_names_no_label_is_invalid_and_stays_in_the_table(loaded):
    # The weights are random, and so is what they write.
    frame = predict(loaded, "generation", max_new_tokens=4)
    check_rows(frame)
    assert set(frame["outcome"]) == {"invalid"}
    assert frame["prediction"].isna().all()
    assert set(frame["finish_reason"]) <= {"stop", "length"}
    assert frame["text"].nunique() > 1


def test_each_answer_is_parsed_by_itself(loaded, monkeypatch):
    written = [
        (" yes", "stop"), (" yes", "stop"), (" No.", "stop"), (" maybe so, since", "length"),
        ("", "stop"), ("yesterday", "length"), (" not sure", "stop"), (" maybe", "stop"),
    ]  # fmt: skip
    monkeypatch.setattr(answers, "generate", lambda *_: written)
    frame = predict(loaded, "generation")
    check_rows(frame)
    # The gold labels are e, n, c, e, n, c, e, n.
    yes, no, maybe = "entailment", "contradiction", "neutral"
    found = [None if pd.isna(prediction) else prediction for prediction in frame["prediction"]]
    assert found == [yes, yes, no, maybe, None, None, None, None]
    assert frame["outcome"].tolist() == ["right", "wrong", "right", "wrong"] + ["invalid"] * 4
    assert list(zip(frame["text"], frame["finish_reason"], strict=True)) == written
    # The probabilities come from the choices, also where the text is no answer.
    assert frame["log_probs"].tolist() == predict(loaded, "choices")["log_probs"].tolist()


@pytest.mark.parametrize("scorer", ["choices", "generation"])
def test_the_order_of_the_cases_does_not_matter(scorer, loaded):
    order = [4, 0, 7, 2, 6, 1, 5, 3]
    frame = predict(loaded, scorer, batch_tokens=150)
    shuffled = predict(loaded, scorer, [CASES[i] for i in order], batch_tokens=150)
    pd.testing.assert_frame_equal(frame.iloc[order].reset_index(drop=True), shuffled)


def test_another_batch_size_changes_no_more_than_rounding(loaded):
    small, large = (predict(loaded, "choices", batch_tokens=budget) for budget in (1, 10_000))
    np.testing.assert_allclose(small["log_probs"].tolist(), large["log_probs"].tolist(), rtol=1e-5, atol=1e-5)
    columns = [name for name in PREDICTION_COLUMNS if name != "log_probs"]
    pd.testing.assert_frame_equal(small[columns], large[columns])


def test_cases_that_are_read_in_several_parts_get_the_answers_that_they_get_at_once(loaded, monkeypatch):
    whole = predict(loaded, "choices")
    monkeypatch.setattr(answers, "ROWS", 3)
    parts = predict(loaded, "choices")
    check_rows(parts)
    pd.testing.assert_frame_equal(parts.drop(columns="log_probs"), whole.drop(columns="log_probs"))
    np.testing.assert_allclose(parts["log_probs"].tolist(), whole["log_probs"].tolist(), atol=1e-5)


def test_rows_survive_their_file(loaded, tmp_path):
    frame = predict(loaded, "generation")
    write_predictions(tmp_path / "base.parquet", frame, {"labels": LABELS})
    read, about = read_predictions(tmp_path / "base.parquet")
    assert about == {"labels": LABELS}
    assert read["prediction"].tolist() == [None] * len(CASES)
    assert [list(row) for row in read["log_probs"]] == frame["log_probs"].tolist()
    for name in ("case_id", "outcome", "text", "prompt_hash", "n_tokens", "truncated"):
        assert read[name].tolist() == frame[name].tolist()


def test_room_is_kept_for_the_answer(loaded):
    longest = max(len(case.inputs["premise"]) for case in CASES)
    assert longest < 64
    with pytest.raises(TunediffError, match="less 40 for the answer"):
        predict(loaded, "generation", max_new_tokens=40)
    cut = predict(loaded, "generation", prompt=PROMPT.model_copy(update={"too_long": "truncate"}), max_new_tokens=40)
    assert cut["n_tokens"].max() == 24
    assert cut["truncated"].any()
    assert not predict(loaded, "choices")["truncated"].any()
