"""Modules of evaluate, ours and others', in folders and without a network."""

import doctest
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.imports import SOURCE
from tests.metrics.test_scores import ANSWERED, LABELS
from tests.small_tasks import PAIR, QUESTIONS
from tunediff.errors import TunediffError
from tunediff.metrics.classification import label_scores
from tunediff.metrics.named import named_scores
from tunediff.metrics.text import text_scores
from tunediff.squad import squad_scores, squad_v2_scores


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """Our modules, with a cache of their own and no network to reach."""
    home = tmp_path_factory.mktemp("hf")
    with pytest.MonkeyPatch.context() as patch:
        import evaluate

        for name in ("METRICS", "MODULES", "EVALUATE"):
            patch.setattr(evaluate.config, f"HF_{name}_CACHE", home / name)
        patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
        patch.setattr(sys, "path", list(sys.path))
        from tunediff.metrics import modules

        yield modules


REFERENCES = [["a cat sat on the mat", "the cat sat down"], ["a dog"]]
PREDICTIONS = ["the cat sat on a mat", "one dog"]


def test_text_modules_combined_give_what_our_functions_give(modules):
    import evaluate

    combined = evaluate.combine([modules.Bleu(), modules.Rouge(), modules.Meteor()])
    found = combined.compute(predictions=PREDICTIONS, references=REFERENCES)
    assert found == pytest.approx(text_scores(REFERENCES, PREDICTIONS))


def test_labels_are_scored_as_texts_and_as_numbers(modules):
    import evaluate

    gold, given = ["no", "yes", "yes", "no"], ["no", "yes", "no", "no"]
    expected = label_scores(["no", "yes"], gold, given)
    twice = evaluate.combine([modules.Classification()])
    assert twice.compute(predictions=given, references=gold) == pytest.approx(expected)
    as_numbers = [[int(one == "yes") for one in labels] for labels in (given, gold)]
    assert modules.Classification().compute(predictions=as_numbers[0], references=as_numbers[1]) == pytest.approx(
        expected
    )
    turned = modules.Classification().compute(predictions=given, references=gold, labels=["yes", "no"])
    assert turned["precision"] == label_scores(["yes", "no"], gold, given)["precision"] != expected["precision"]


def test_squad_modules_pair_answers_by_id_and_take_the_inputs_of_the_hub_s(modules):
    given = [
        {"id": "b", "prediction_text": "Oslo", "no_answer_probability": 0.8},
        {"id": "a", "prediction_text": "paris", "no_answer_probability": 0.1},
    ]
    gold = [
        {"id": "a", "answers": {"text": ["Paris"], "answer_start": [3]}},
        {"id": "b", "answers": {"text": [], "answer_start": []}},
    ]
    found = modules.SquadV2().compute(predictions=given, references=gold)
    assert found == squad_v2_scores([[], ["Paris"]], ["Oslo", "paris"], [0.8, 0.1])
    only = [{key: one[key] for key in ("id", "prediction_text")} for one in given[1:]]
    found = modules.Squad().compute(predictions=only, references=gold[:1])
    assert found == squad_scores([["Paris"]], ["paris"])


def script(folder, name, features, body):
    """A module of evaluate as people write them: a folder with a script of its name."""
    (folder / name).mkdir(exist_ok=True)
    (folder / name / f"{name}.py").write_text(
        f"""
import datasets
import evaluate
TEXT, NUMBER = datasets.Value("string"), datasets.Value("int32")
class Own(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(description="", citation="", features=datasets.Features({features}))
    def _compute(self, predictions, references):
        return {body}
"""
    )
    return str(folder / name)


BOTH_TEXT = "{'predictions': TEXT, 'references': TEXT}"
SAME = "sum(p == r for p, r in zip(predictions, references))"


def test_a_module_in_a_folder_is_computed_beside_the_metrics(modules, tmp_path):
    no_numbers = "'words': 'many', 'sure': True, 'each': [0] * 11, 'nan': float('nan')"
    texts = script(tmp_path, "agreement", BOTH_TEXT, f"{{'agreement': {SAME}, 'lengths': [1, 2.5], {no_numbers}}}")
    features = "{'predictions': NUMBER, 'references': NUMBER}"
    numbers = script(tmp_path, "places", features, "{'given': predictions, 'gold': references}")
    assert named_scores([texts, f"{numbers}/places.py"], PAIR, LABELS) == {
        "evaluate_agreement": 2,
        "evaluate_agreement_lengths_1": 1,
        "evaluate_agreement_lengths_2": 2.5,
        # An invalid answer is at no label's place.
        **{"evaluate_places_given_1": 0, "evaluate_places_given_2": 1, "evaluate_places_given_3": -1},
        **{"evaluate_places_gold_1": 0, "evaluate_places_gold_2": 1, "evaluate_places_gold_3": 1},
    }


def test_two_modules_of_one_name_are_refused(modules, tmp_path):
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        paths.append(script(tmp_path / folder, "same", BOTH_TEXT, "{'same': 1}"))
    with pytest.raises(TunediffError, match="found evaluate_same, which another module gives too"):
        named_scores(paths, PAIR, LABELS)


def test_answers_are_given_in_the_form_that_a_module_asks_for(modules, tmp_path):
    one = script(tmp_path, "one", BOTH_TEXT, f"{{'same': {SAME}}}")
    features = "{'predictions': TEXT, 'references': datasets.Sequence(TEXT)}"
    several = script(tmp_path, "several", features, "{'counts': [len(r) for r in references]}")
    answers = "{'text': datasets.Sequence(TEXT), 'answer_start': datasets.Sequence(NUMBER)}"
    prediction = "{'id': TEXT, 'prediction_text': TEXT, 'no_answer_probability': datasets.Value('float32')}"
    features = f"{{'predictions': {prediction}, 'references': {{'id': TEXT, 'answers': {answers}}}}}"
    no_answer, gold = "p['no_answer_probability'] for p in predictions", "len(r['answers']['text']) for r in references"
    squad = script(tmp_path, "layout", features, f"{{'no_answer': [{no_answer}], 'gold': [{gold}]}}")
    found = named_scores([one, several, squad], QUESTIONS, ANSWERED)
    assert found["evaluate_one_same"] == 2  # Paris, and nothing where there is no answer
    assert [found[f"evaluate_several_counts_{place}"] for place in (1, 2, 3)] == [2, 1, 1]
    assert [found[f"evaluate_layout_gold_{place}"] for place in (1, 2, 3)] == [2, 1, 0]
    assert [found[f"evaluate_layout_no_answer_{place}"] for place in (1, 2, 3)] == pytest.approx([0.2, 0.2, 0.8])


def test_a_module_that_draws_samples_gives_the_same_twice(modules, tmp_path):
    path = script(tmp_path, "drawn", BOTH_TEXT, "{'drawn': __import__('numpy').random.random()}")
    np.random.seed(1)
    first = named_scores([path], PAIR, LABELS)
    np.random.seed(2)
    assert named_scores([path], PAIR, LABELS) == first


@pytest.mark.parametrize(
    ("features", "body", "message"),
    [
        (BOTH_TEXT, "1 / 0", "cannot score 3 cases: 'division by zero'"),
        (BOTH_TEXT, "{'words': 'many'}", "expected a number at least"),
        (BOTH_TEXT, "None", "expected a number at least"),
        ("{'predictions': TEXT, 'sources': TEXT}", "{}", "which the task nli does not have"),
        ("{'predictions': {'id': TEXT}, 'references': TEXT}", "{}", "which the task nli does not have"),
    ],
)
def test_a_module_that_cannot_score_is_named_in_one_line(modules, tmp_path, features, body, message):
    path = script(tmp_path, f"bad{len(features + body)}", features, body)
    with pytest.raises(TunediffError, match=r"^evaluate\.metrics: ") as refusal:
        named_scores([path], PAIR, LABELS)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_name_that_cannot_be_loaded_is_one_line(modules, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TunediffError, match=r"^evaluate\.metrics: no_such_metric: cannot be loaded: .*expected a folder"
    ):
        named_scores(["no_such_metric"], PAIR, LABELS)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(TunediffError, match=r"^evaluate\.metrics: broken: cannot be loaded: .*nothing_of_that_name"):
        named_scores(["broken"], PAIR, LABELS)


def test_without_a_name_evaluate_is_not_even_imported():
    lines = [
        "import sys",
        "from tunediff.metrics.named import named_scores",
        "named_scores([], None, None)",
        "print('evaluate' in sys.modules)",
    ]
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "False"


def test_the_documented_example_holds(modules):
    assert doctest.testmod(modules).failed == 0
    import evaluate

    texts = evaluate.combine([modules.Bleu(), modules.Rouge()])
    found = texts.compute(predictions=["the cat sat"], references=[["a cat sat", "the cat sat down"]])
    assert found["rougeL"] == pytest.approx(6 / 7)
