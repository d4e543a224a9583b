"""The other ways to ask the same cases: what reaches the model, and that answers stand beside their case."""

import numpy as np
import pytest

from tests.tiny import CASES, CHOICES, LABELS, PROMPT, SENTENCES, TASK, load, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.cases import make_cases
from tunediff.engines import asking as answers
from tunediff.engines.asking import predict_cases
from tunediff.engines.other_settings import (
    answered_again,
    drawn_examples,
    few_shot_log_probs,
    other_settings,
    partial_input,
)
from tunediff.pretraining.tokenizer import train_bpe
from tunediff.runtime.errors import TunediffError


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("lm"), train_bpe(SENTENCES, 320, 256)
    return load(folder / "base", write_model(folder / "model", "llama", tokenizer, max_position_embeddings=256))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, bert_tokenizer):
    folder = tmp_path_factory.mktemp("classifier")
    return load(folder / "base", write_model(folder / "model", "bert", bert_tokenizer, "none"), head="classification")


def asked(loaded, *protocols, scorer="choices", cases=CASES, prompt=PROMPT):
    evaluate = Evaluate(scoring_method=scorer, settings=list(protocols))
    frame = predict_cases(loaded, cases, TASK, prompt, evaluate, "test")
    return frame, other_settings(frame, loaded, cases, TASK, prompt, evaluate, "test")


def test_nothing_more_is_asked_than_what_was_asked_for(loaded):
    assert asked(loaded)[1] == {}


@pytest.mark.parametrize("scorer", ["choices", "generation"])
def test_free_text_is_parsed_and_stands_beside_the_scored_answer(scorer, loaded, monkeypatch):
    written = [(" yes", "stop"), (" No.", "stop"), ("yesterday", "length"), ("", "stop")] * 2
    calls = []
    monkeypatch.setattr(answers, "generate", lambda *given: calls.append(given) or written)
    frame, columns = asked(loaded, "generation", scorer=scorer)
    assert columns["generated"] == ["entailment", "contradiction", None, None] * 2
    assert columns["generated_text"] == [text for text, _ in written]
    assert len(calls) == 1  # where free text is what is scored, it is not written a second time
    assert (frame["prediction"].isna().any()) == (scorer == "generation")


def test_the_partial_input_prompt_is_the_template_with_the_premise_empty(loaded):
    _, columns = asked(loaded, "partial_input")
    alone = [partial_input(case, TASK) for case in CASES]
    assert [case.inputs for case in alone] == [
        {"premise": "", "hypothesis": case.inputs["hypothesis"]} for case in CASES
    ]
    without = Prompt(template="\n{hypothesis}\nTrue?", choices=CHOICES)
    expected = predict_cases(loaded, CASES, TASK, without, Evaluate(scoring_method="choices"), "test")["log_probs"]
    np.testing.assert_allclose(columns["premise_free_log_probs"], expected.tolist(), rtol=1e-6)


def test_partial_input_answers_do_not_depend_on_the_premise(loaded):
    other = make_cases(
        ({"premise": "Nobody.", "hypothesis": f"{case.inputs['hypothesis']}"}, case.label, ()) for case in CASES
    )
    first, second = (asked(loaded, "partial_input", cases=cases)[1] for cases in (CASES, other))
    assert first == second


def test_a_head_reads_the_hypothesis_alone_too(classifier):
    frame, columns = asked(classifier, "partial_input", scorer="head", prompt=Prompt())
    scores = np.array(columns["premise_free_log_probs"])
    assert scores.shape == (len(CASES), len(LABELS))
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1)
    assert scores.tolist() != frame["log_probs"].tolist()


def test_the_second_run_uses_other_batches_of_the_same_prompts(loaded, monkeypatch):
    batches = []
    real = answers.score_choices

    def score(model, prompts, choices, batch_tokens, title):
        batches.append((prompts, batch_tokens))
        return real(model, prompts, choices, batch_tokens, title)

    monkeypatch.setattr(answers, "score_choices", score)
    evaluate = Evaluate(scoring_method="choices", batch_tokens=4096, noise_batch_tokens=64)
    first = predict_cases(loaded, CASES, TASK, PROMPT, evaluate, "test")
    again = answered_again(loaded, CASES, TASK, PROMPT, evaluate, "test")
    assert again == first["prediction"].tolist()
    assert [budget for _, budget in batches] == [4096, 64]
    assert batches[0][0] == batches[1][0]


def solved_cases():
    texts = [
        ("A {man} walks about.", "entailment"),
        ("A dog.", "neutral"),
        ("A cat.", "entailment"),
        ("No.", "neutral"),
    ]
    return make_cases(({"premise": text, "hypothesis": "Yes."}, label, ()) for text, label in texts)


def test_examples_are_the_shortest_of_each_label_in_turn():
    drawn = drawn_examples(solved_cases(), LABELS[:2], 4)
    assert [case.inputs["premise"] for case in drawn] == ["A cat.", "No.", "A {man} walks about.", "A dog."]


def test_too_few_cases_for_the_examples_are_named():
    with pytest.raises(
        TunediffError, match="few_shot: found too few validation cases labelled entailment, expected at"
    ):
        drawn_examples(solved_cases(), LABELS[:2], 5)


def test_a_few_shot_prompt_is_solved_examples_and_then_the_case(loaded):
    task = TASK.model_copy(update={"labels": LABELS[:2]})
    prompt = Prompt(template=PROMPT.template, choices={label: CHOICES[label] for label in LABELS[:2]})
    cases = [case for case in CASES if case.label in LABELS[:2]]
    evaluate = Evaluate(scoring_method="choices", few_shot=3)
    found = few_shot_log_probs(loaded, cases, solved_cases(), task, prompt, evaluate, "test")
    # The braces of an example are text, as those of a case are: here they come in as an input.
    written = "A cat.\nYes.\nTrue? yes\n\nNo.\nYes.\nTrue? maybe so\n\n{example}\nYes.\nTrue? yes\n\n" + PROMPT.template
    whole = Prompt(template=written, choices=prompt.choices)
    spelled = make_cases(({**case.inputs, "example": "A {man} walks about."}, case.label, ()) for case in cases)
    expected = predict_cases(loaded, spelled, task, whole, Evaluate(scoring_method="choices"), "test")[
        "log_probs"
    ].tolist()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    plain = predict_cases(loaded, cases, task, prompt, evaluate, "test")["log_probs"].tolist()
    assert np.abs(np.array(plain) - found).max() > 1e-3


def test_examples_that_do_not_fit_are_named_with_their_parameter(loaded):
    evaluate = Evaluate(scoring_method="choices", few_shot=2)
    long = make_cases(({"premise": "word " * 400, "hypothesis": "h"}, label, ()) for label in LABELS)
    with pytest.raises(TunediffError, match=r"^evaluate.few_shot is 2: case \w+: found \d+ tokens"):
        few_shot_log_probs(loaded, CASES, long, TASK, PROMPT, evaluate, "test")
