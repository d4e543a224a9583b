"""The other ways to ask the same cases: what reaches the model, and that answers stand beside their case."""

import numpy as np
import pytest

from tests.tiny import CASE_SET, CASES, CHOICES, LABELS, PROMPT, SENTENCES, asked_for, engine_of, load, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.cases import make_cases
from tunediff.engines.asking import ask_cases
from tunediff.engines.engine import Generated
from tunediff.engines.local import transformers_engine
from tunediff.engines.local.transformers_engine import TransformersEngine
from tunediff.engines.other_settings import drawn_examples, few_shot_log_probs, other_settings, partial_input
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


def measured(loaded, *settings, case_set=CASE_SET, cases=CASES, **keys):
    evaluate = Evaluate(scoring_method="choices", settings=list(settings), **keys)
    engine = engine_of(loaded, evaluate.batch_tokens)
    frame = ask_cases(engine, cases, case_set, evaluate, "test")
    solved = drawn_examples(solved_cases(), case_set.labels, evaluate.few_shot)
    return frame, other_settings(frame, engine, cases, solved, case_set, evaluate, "test")


def plain_log_probs(loaded, cases, case_set):
    return ask_cases(engine_of(loaded), cases, case_set, Evaluate(scoring_method="choices"), "test")[
        "log_probs"
    ].tolist()


def test_nothing_more_is_asked_than_what_was_asked_for(loaded):
    assert measured(loaded)[1] == {}


@pytest.mark.parametrize("answer", ["choices", "text"])
def test_free_text_stands_beside_the_scored_answer(answer, loaded, monkeypatch):
    written = [Generated(text, "stop") for text in (" yes", " No.", "yesterday", "")] * 2
    calls = []
    monkeypatch.setattr(TransformersEngine, "generate", lambda *given: calls.append(given) or written)
    frame, columns = measured(loaded, "generation", case_set=asked_for(answer))
    assert columns == {"generated_text": [one.text for one in written]}
    assert len(calls) == 1  # where free text is what is scored, it is not written a second time
    assert (frame["text"].tolist() == columns["generated_text"]) == (answer == "text")


def test_the_partial_input_prompt_is_the_template_with_the_premise_empty(loaded):
    _, columns = measured(loaded, "partial_input")
    alone = [partial_input(case, "hypothesis") for case in CASES]
    assert [case.inputs for case in alone] == [
        {"premise": "", "hypothesis": case.inputs["hypothesis"]} for case in CASES
    ]
    without = asked_for("choices", prompt=Prompt(template="\n{hypothesis}\nTrue?", choices=CHOICES))
    np.testing.assert_allclose(columns["premise_free_log_probs"], plain_log_probs(loaded, CASES, without), rtol=1e-6)


def test_partial_input_answers_do_not_depend_on_the_premise(loaded):
    other = make_cases(
        ({"premise": "Nobody.", "hypothesis": f"{case.inputs['hypothesis']}"}, case.label, ()) for case in CASES
    )
    first, second = (measured(loaded, "partial_input", cases=cases)[1] for cases in (CASES, other))
    assert first == second


def test_a_head_reads_the_hypothesis_alone_too(classifier):
    frame, columns = measured(classifier, "partial_input", case_set=asked_for("labels", prompt=Prompt()))
    scores = np.array(columns["premise_free_log_probs"])
    assert scores.shape == (len(CASES), len(LABELS))
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1)
    assert scores.tolist() != frame["log_probs"].tolist()


def test_the_second_run_uses_other_batches_of_the_same_prompts(loaded, monkeypatch):
    batches = []
    real = transformers_engine.score_choices

    def score(model, prompts, choices, batch_tokens, title):
        batches.append((prompts, batch_tokens))
        return real(model, prompts, choices, batch_tokens, title)

    monkeypatch.setattr(transformers_engine, "score_choices", score)
    frame, columns = measured(loaded, batch_tokens=4096, noise_batch_tokens=64)
    assert columns["again_text"] == frame["text"].tolist()
    np.testing.assert_allclose(columns["again_log_probs"], frame["log_probs"].tolist(), atol=1e-5)
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
    choices = {label: CHOICES[label] for label in LABELS[:2]}
    ask = CASE_SET.ask.model_copy(update={"names": LABELS[:2], "choices": choices})
    prompt = Prompt(template=PROMPT.template, choices=choices)
    two = CASE_SET.model_copy(update={"labels": LABELS[:2], "prompt": prompt, "ask": ask})
    cases = [case for case in CASES if case.label in LABELS[:2]]
    found = measured(loaded, case_set=two, cases=cases, few_shot=3)[1]["few_shot_log_probs"]
    # The braces of an example are text, as those of a case are: here they come in as an input.
    written = "A cat.\nYes.\nTrue? yes\n\nNo.\nYes.\nTrue? maybe so\n\n{example}\nYes.\nTrue? yes\n\n" + PROMPT.template
    whole = two.model_copy(update={"prompt": Prompt(template=written, choices=choices)})
    spelled = make_cases(({**case.inputs, "example": "A {man} walks about."}, case.label, ()) for case in cases)
    np.testing.assert_allclose(found, plain_log_probs(loaded, spelled, whole), rtol=1e-6)
    assert np.abs(np.array(plain_log_probs(loaded, cases, two)) - found).max() > 1e-3


def test_examples_that_do_not_fit_are_named_with_their_parameter(loaded):
    evaluate = Evaluate(scoring_method="choices", few_shot=2)
    long = make_cases(({"premise": "word " * 400, "hypothesis": "h"}, label, ()) for label in LABELS)[:2]
    with pytest.raises(TunediffError, match=r"^evaluate.few_shot is 2: case \w+: found \d+ tokens"):
        few_shot_log_probs(engine_of(loaded), CASES, long, CASE_SET, evaluate, "test")
