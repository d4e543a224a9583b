"""All that a prediction stage asks a model: answers that depend on the batch stop it, unusual joins are said once."""

import pytest

from tests.tiny import CASE_SET, CASES, CHOICES, LABELS, PROMPT, asked_for, engine_of, load, model_section, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.engines.case_sets import ask_sets
from tunediff.engines.engine import Engine, Written
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import HEADLINE, VALIDATION, PredictSettings
from tunediff.runtime.errors import TunediffError


class Moody(Engine):
    """Answers that are other ones where several cases are asked at once."""

    def __init__(self, off=0.0, text=""):
        self.off, self.text, self.calls = off, text, []

    def loglikelihoods(self, prompts, continuations, title):
        self.calls.append((title, len(prompts)))
        off = self.off if len(prompts) > 1 else 0.0
        return [[-1.0 - off, -2.0, -3.0] for _ in prompts]

    def generate(self, prompts, stop, max_new_tokens, title):
        self.calls.append((title, len(prompts)))
        return [Written(f"yes{self.text if len(prompts) > 1 else ''}", "stop") for _ in prompts]

    def environment(self):
        return {"dtype": "float32"}

    def tuned(self, folder):
        return self


def ask(engine, case_set=CASE_SET, tmp="nowhere", **keys):
    settings = PredictSettings(
        model=model_section(tmp),
        evaluate=Evaluate(scoring_method="choices", **keys),
        sets={HEADLINE: case_set, "further": case_set},
    )
    return ask_sets(engine, dict.fromkeys([HEADLINE, VALIDATION, "further"], CASES), settings, "test")


@pytest.mark.parametrize("answer", ["choices", "text"])
def test_log_probabilities_that_depend_on_the_batch_stop_the_stage(answer):
    ask(Moody(off=1e-4), asked_for(answer))
    with pytest.raises(TunediffError, match="test: evaluated alone, a case gets log-likelihoods that differ"):
        ask(Moody(off=0.1), asked_for(answer))


def test_texts_that_depend_on_the_batch_stop_the_stage():
    without = CASE_SET.model_copy(update={"ask": Ask(answer="text")})
    for case_set in (asked_for("text"), without):
        ask(Moody(), case_set)
        with pytest.raises(TunediffError, match="evaluated alone, 8 of 8 cases get a different text than in a batch"):
            ask(Moody(text=" indeed"), case_set)


def test_the_cases_of_the_headline_are_asked_alone_and_no_others():
    engine = Moody()
    ask(engine, settings=["partial_input"])
    alone = [title for title, n in engine.calls if n == 1]
    assert alone == ["test, alone"] * 8
    assert [title for title, n in engine.calls if n > 1] == ["test", "test, hypothesis alone", "test, further"]


def test_unusual_joins_are_said_once_a_stage(tmp_path, tokenizer, capsys):
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer))
    sentence = "the tokens of an answer differ from those that it has alone"
    ask(engine_of(loaded), noise_batch_tokens=64)
    assert sentence not in capsys.readouterr().out
    choices = dict(zip(LABELS, [text.strip() for text in CHOICES.values()], strict=True))
    prompt = PROMPT.model_copy(update={"template": f"{PROMPT.template} ", "choices": choices})
    case_set = CASE_SET.model_copy(
        update={"prompt": prompt, "ask": CASE_SET.ask.model_copy(update={"choices": choices})}
    )
    ask(engine_of(loaded), case_set, noise_batch_tokens=64, settings=["partial_input"])
    out = capsys.readouterr().out
    assert out.startswith(f"test: {sentence} in {len(CASES)} of {len(CASES)} cases")
    assert out.count(sentence) == 1
