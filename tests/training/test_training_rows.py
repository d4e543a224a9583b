"""What training learns from is token for token what scoring asks, and a split with nothing to learn from is refused."""

from dataclasses import replace

import pytest

from tests.questions import LABELS as QUESTION_LABELS
from tests.tiny import CASES, LABELS, load, small_bert_tokenizer, small_tokenizer, write_model
from tunediff.config.prompt import Prompt
from tunediff.data.cases import Answer, Case
from tunediff.inputs.joins import join
from tunediff.inputs.prompts import render
from tunediff.runtime.errors import TunediffError
from tunediff.training.targets import training_rows

TOKENIZER = small_tokenizer()


@pytest.mark.parametrize(("end", "blank"), [("", " "), (" ", ""), ("\n", "")])
def test_a_row_is_the_whole_text_and_its_targets_are_what_is_scored(end, blank, tmp_path):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", TOKENIZER))
    choices = dict(zip(LABELS, [f"{blank}yes", f"{blank}maybe", f"{blank}no"], strict=True))
    prompt = Prompt(template="{hypothesis}\nTrue?" + end, choices=choices)
    rows = training_rows(loaded, CASES, LABELS, prompt, "lm")
    texts = [render(prompt.template, case.inputs) for case in CASES]
    joined = join(TOKENIZER, texts, [list(choices.values())] * len(CASES), 64)
    for case, text, one, (tokens, targets) in zip(CASES, texts, joined, rows, strict=True):
        assert tokens == [*TOKENIZER(text + choices[case.label]).input_ids, TOKENIZER.eos_token_id]
        answer = one.answers[LABELS.index(case.label)]
        assert tokens[-targets:] == [*answer, TOKENIZER.eos_token_id]


def test_a_span_head_whose_answers_stand_nowhere_has_nothing_to_learn_from(tmp_path):
    weights = write_model(tmp_path / "model", "bert", small_bert_tokenizer(), "none")
    loaded = load(tmp_path / "base", weights, QUESTION_LABELS, head="span")
    inputs, gold = {"question": "Who?", "context": "A man is reading."}, (Answer("a cat", None),)
    nowhere = [Case(f"{i:016x}", inputs, "answerable", (), gold) for i in range(3)]
    with pytest.raises(TunediffError, match="data: found no gold answer of 3 cases in its context"):
        training_rows(loaded, nowhere, QUESTION_LABELS, Prompt(max_tokens=48, doc_stride=8), "span")


def test_of_options_the_right_one_is_learned_with_the_tokens_that_are_scored(tmp_path):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", TOKENIZER))
    prompt, options = Prompt(template="{hypothesis}\nTrue?"), ("no", "maybe so", "no dogs")
    cases = [replace(case, options=options) for case in CASES]
    rows = training_rows(loaded, cases, LABELS, prompt, "lm")
    for case, (tokens, targets) in zip(cases, rows, strict=True):
        text = render(prompt.template, case.inputs)
        right = options[LABELS.index(case.label)]
        assert tokens == [*TOKENIZER(f"{text} {right}").input_ids, TOKENIZER.eos_token_id]
        [one] = join(TOKENIZER, [text], [[f" {option}" for option in options]], 64, none_begins=False)
        assert tokens[-targets:] == [*one.answers[LABELS.index(case.label)], TOKENIZER.eos_token_id]
