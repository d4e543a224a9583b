"""Retention: golden values from outside, and a model that lost its answer format and nothing else."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import rel_entr

from tests.made_pairs import made_up_pair
from tests.small_tasks import ONE
from tunediff.compare.comparison import Comparison, compare_tables
from tunediff.compare.effects.retention import KEYS, above_chance, divergence, retention
from tunediff.compare.evidence import gather
from tunediff.config.task import TaskSection
from tunediff.data.cases import INVALID, RIGHT, WRONG, Answer, make_cases
from tunediff.inputs.ask import Ask
from tunediff.tasks import task_of

LABELS = ("yes", "no")
CHOICES = {"yes": " yes", "no": " no"}


def test_forgotten_and_gained_have_the_golden_bounds():
    found = retention(compare_tables(*made_up_pair()))
    assert (found["n"], found["forgotten"], found["gained"]) == (100, 2, 49)
    assert (found["forgotten_low"], found["forgotten_high"]) == pytest.approx((0.0024, 0.0704), abs=5e-5)
    assert found["delta"] == pytest.approx(0.47)
    assert found["p"] == pytest.approx(1.1786127629e-12)


def graded(texts, log_probs, gold):
    """What a language model wrote to the cases, graded, with its choices scored beside it."""
    task = task_of(ONE)
    cases = make_cases(({"sentence": f"case {i}"}, label, []) for i, label in enumerate(gold))
    answers = pd.DataFrame(
        {
            "case_id": [case.case_id for case in cases],
            "text": texts,
            "finish_reason": "stop",
            "log_probs": log_probs,
            "scorer": "generation",
            "prompt_hash": "p",
            "n_tokens": 4,
            "truncated": False,
        }
    )
    return task.grade(cases, answers, Ask(answer="text", names=list(LABELS), choices=CHOICES))


def of_pair(before, after, task):
    aligned = before.merge(after, on=["case_id", "label", "scorer"], suffixes=("_base", "_tuned"))
    return Comparison(aligned, task, 0.95)


def likely(names):
    return np.log([[0.9, 0.1] if name == "yes" else [0.1, 0.9] for name in names]).tolist()


def test_a_model_that_lost_only_the_answer_format_comes_out_as_all_format():
    gold = list(LABELS) * 50
    knows = [*gold[:80], *("no" if one == "yes" else "yes" for one in gold[80:])]
    before = graded([f" {one}" for one in knows], likely(knows), gold)
    after = graded([f"I would say that it is {one}" for one in knows], likely(knows), gold)
    found = retention(of_pair(before, after, task_of(ONE)))
    assert (found["forgotten"], found["gained"]) == (80, 0)
    assert found["delta"] == found["format"] == -0.8
    assert found["rest"] == 0
    assert found["kl"] == 0


def test_a_model_that_kept_the_format_and_lost_the_knowledge_comes_out_without_format():
    gold = list(LABELS) * 50
    wrong = ["no" if one == "yes" else "yes" for one in gold]
    before, after = (graded([f" {one}" for one in each], likely(each), gold) for each in (gold, wrong))
    found = retention(of_pair(before, after, task_of(ONE)))
    assert (found["format"], found["rest"]) == (0, -1)
    assert found["kl"] == pytest.approx(rel_entr([0.9, 0.1], [0.1, 0.9]).sum())


SUMS = TaskSection(
    name="generation",
    inputs=["question"],
    labels=["answer"],
    source_input="question",
    partial_input="question",
    grade=["exact", {"by": "number", "lenient": True}],
)


def written(texts):
    task = task_of(SUMS)
    cases = [
        replace_answers(case, str(i))
        for i, case in enumerate(make_cases(({"question": f"{i} + 0"}, "answer", []) for i in range(len(texts))))
    ]
    columns = {"finish_reason": "stop", "log_probs": None, "scorer": "generation"}
    columns |= {"prompt_hash": "p", "n_tokens": 4, "truncated": False}
    answers = pd.DataFrame({"case_id": [case.case_id for case in cases], "text": texts}).assign(**columns)
    return task.grade(cases, answers, Ask(answer="text"))


def replace_answers(case, text):
    return replace(case, answers=(Answer(text, None),))


@pytest.mark.parametrize(
    ("say", "form", "rest"),
    [(lambda i: f"The answer is {i}.", -1.0, 0.0), (lambda i: str(i + 1), 0.0, -1.0)],
    ids=("in a sentence", "another number"),
)
def test_of_free_text_the_lenient_grade_tells_the_format_from_the_rest(say, form, rest):
    before, after = written([str(i) for i in range(40)]), written([say(i) for i in range(40)])
    found = retention(of_pair(before, after, task_of(SUMS)))
    assert (found["delta"], found["format"], found["rest"]) == (-1, form, rest)


def test_of_text_that_is_read_in_one_way_only_an_answer_that_became_invalid_is_the_format():
    alone = replace(task_of(SUMS), graders=task_of(SUMS).graders[:1])
    before, after = written([str(i) for i in range(40)]), written(["", *(str(i) for i in range(1, 39)), "no"])
    found = retention(of_pair(before, after, alone))
    assert (found["forgotten"], found["format"], found["rest"]) == (2, -1 / 40, -1 / 40)


def test_what_guessing_flips_is_taken_off():
    generator = np.random.default_rng(3)
    n, k = 200_000, 4
    knows_before = generator.random(n) < 0.5
    forgets, learns = knows_before & (generator.random(n) < 0.2), ~knows_before & (generator.random(n) < 0.1)
    knows_after = (knows_before & ~forgets) | learns
    before, after = (knows | (generator.random(n) < 1 / k) for knows in (knows_before, knows_after))
    counts = {"n": n, "broken": (before & ~after).sum(), "repaired": (~before & after).sum()}
    counts |= {"both_wrong_same": 0, "both_wrong_changed": (~before & ~after).sum()}
    counts |= {"accuracy_base": before.mean(), "accuracy_tuned": after.mean()}
    found = above_chance(counts, k)
    # A case that was known and is guessed now is forgotten in k - 1 of k.
    assert found["forgotten_above_chance"] == pytest.approx(forgets.mean() * (1 - 1 / k), abs=0.004)
    assert found["gained_above_chance"] == pytest.approx(learns.mean() * (1 - 1 / k), abs=0.004)
    assert found["retained_above_chance"] == pytest.approx(knows_after.mean() / knows_before.mean(), abs=0.01)


def test_the_divergence_is_that_of_scipy():
    generator = np.random.default_rng(1)
    base, tuned = generator.dirichlet(np.ones(3), size=(2, 50))
    assert divergence(np.log(base), np.log(tuned)) == pytest.approx(rel_entr(base, tuned).sum(axis=1))


def test_every_set_has_its_row_and_its_p_is_adjusted_for_their_number():
    golden = compare_tables(*made_up_pair())
    found = gather(golden, further={"one": golden, "two": golden, "same": compare_tables(*[made_up_pair()[0]] * 2)})
    table = found.tables["retention"].set_index("set")
    assert table.loc["one", "p_holm"] == pytest.approx(3 * 1.1786127629e-12)
    assert (table.loc["same", "forgotten"], table.loc["same", "gained"], table.loc["same", "p_holm"]) == (0, 0, 1)
    assert set(KEYS) <= set(table.columns)
    assert {INVALID, RIGHT, WRONG} >= set(golden.aligned["outcome_base"])
    assert gather(golden).retained == {}
