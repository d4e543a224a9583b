import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.small_tasks import ONE, QUESTIONS
from tests.small_tasks import PAIR as TASK
from tunediff.data.cases import make_cases
from tunediff.data.leaks import find_leaks

CAPTION = "A young woman in a red coat is feeding two brown dogs in the park."


def cases(*pairs, label="yes"):
    return make_cases(({"premise": premise, "hypothesis": hypothesis}, label, ()) for premise, hypothesis in pairs)


def leaks(left, right):
    return find_leaks(cases(*left), cases(*right, label="no"), TASK)


def is_near(left, right):
    found = leaks([left], [right]).near_duplicates
    return bool(found)


def test_the_same_pair_is_found_whatever_its_label():
    found = leaks([("a", "x"), ("b", "y")], [("c", "z"), ("b", "y")])
    [_, same] = cases(("a", "x"), ("b", "y"))
    assert found.pairs == found.premises == found.hypotheses == [same.case_id]
    assert found.near_duplicates == {}
    assert found.counts() == {"leaked_pairs": 1, "shared_sources": 1, "shared_partial_inputs": 1, "near_duplicates": 0}


def test_a_premise_and_a_hypothesis_of_different_cases_make_no_pair():
    found = leaks([("a", "x")], [("a", "y"), ("b", "x")])
    assert found.counts() == {"leaked_pairs": 0, "shared_sources": 1, "shared_partial_inputs": 1, "near_duplicates": 0}


def test_a_premise_that_stands_as_a_hypothesis_is_not_shared():
    assert set(leaks([("a", "b")], [("b", "a")]).counts().values()) == {0}


def test_one_word_changed_in_a_caption_is_a_near_duplicate():
    [test] = cases((CAPTION, "A woman feeds animals."))
    [other, near] = cases(("Two men sleep.", "Men sleep."), (CAPTION.replace("red", "blue"), "A woman feeds animals."))
    assert find_leaks([test], [other, near], TASK).near_duplicates == {test.case_id: [near.case_id]}


def test_letter_case_and_punctuation_make_no_difference():
    assert is_near(("Two men sleep.", "Men sleep"), ("two men, sleep", "men sleep!"))


def test_the_same_premise_with_another_hypothesis_is_no_near_duplicate():
    assert not is_near((CAPTION, "A woman feeds animals."), (CAPTION, "The dogs run away from a cat that hides."))


def test_the_order_of_the_words_counts():
    assert not is_near(("two men watch one dog", "men watch"), ("one dog watch two men", "watch men"))


def test_texts_without_a_word_are_no_near_duplicates():
    assert not is_near(("?!", "..."), ("!!", "..."))


def test_a_task_with_one_input_is_measured_on_it():
    made = make_cases([({"sentence": "a good film"}, "yes", ())])
    assert find_leaks(made, made, ONE).counts() == {
        "leaked_pairs": 1,
        "shared_sources": 1,
        "shared_partial_inputs": 1,
        "near_duplicates": 0,
    }


def test_a_further_test_set_may_have_fewer_inputs_than_training():
    words = "a man in a red coat is feeding two small dogs in the park"
    asked = make_cases([({"sentence": f"{words} today"}, "yes", ())])
    learned = cases((words, ""), ("another text", words))
    found = find_leaks(asked, learned, ONE, TASK)
    assert found.near_duplicates == {asked[0].case_id: [learned[0].case_id]}
    assert find_leaks(learned, asked, TASK, ONE).near_duplicates == {learned[0].case_id: [asked[0].case_id]}


def test_one_input_has_near_duplicates_of_its_own():
    test, *train = make_cases(
        ({"sentence": text}, "yes", ()) for text in (CAPTION, CAPTION.replace("red", "blue"), "Two men sleep.", CAPTION)
    )
    found = find_leaks([test], train, ONE)
    assert found.near_duplicates == {test.case_id: [train[0].case_id]}
    assert found.pairs == found.premises == found.hypotheses == [test.case_id]


def test_questions_share_a_context_or_a_question_and_are_nearly_the_same_only_where_both_are():
    context = "The Normans were the people who in the 10th and 11th centuries gave their name to Normandy, in France."
    test, *train = make_cases(
        ({"question": question, "context": text}, "answerable", ())
        for question, text in [
            ("Who gave their name to Normandy?", context),
            ("Who gave a name to Normandy?", context),
            ("In what country is it, and when did it all begin, and who began it, and why was that?", context),
            ("Who gave their name to Normandy?", "Vikings settled in the north of the country."),
        ]
    )
    found = find_leaks([test], train, QUESTIONS)
    assert (found.pairs, found.premises, found.hypotheses) == ([], [test.case_id], [test.case_id])
    assert found.near_duplicates == {test.case_id: [train[0].case_id]}


SENTENCE = st.lists(st.sampled_from(list("abcdef")), max_size=9).map(" ".join)
# Half of the pairs are small changes of one another, so that many are near duplicates and many are not quite.
BASE = list("abcdefghijklmnop")
CHANGED = st.lists(st.tuples(st.integers(0, 15), st.sampled_from(["x", "y", "A"])), max_size=3).map(
    lambda changes: " ".join(dict(changes).get(i, word) for i, word in enumerate(BASE))
)
PAIRS = st.lists(st.tuples(CHANGED, SENTENCE) | st.tuples(SENTENCE, SENTENCE), max_size=12)


def jaccard(left, right):
    def shingles(pair):
        texts = [re.findall(r"\w+", text.lower()) for text in pair]
        return {(i, word) for i, words in enumerate(texts) for word in words} | {
            (i, *two) for i, words in enumerate(texts) for two in pairwise(words)
        }

    a, b = shingles(left), shingles(right)
    return len(a & b) / len(a | b) if a | b else 0.0


@given(left=PAIRS, right=PAIRS)
def test_near_duplicates_are_those_of_comparing_every_pair(left, right):
    tests, train = cases(*left), cases(*right)
    expected = {}
    for case, pair in zip(tests, left, strict=True):
        near = [
            other.case_id
            for other, text in zip(train, right, strict=True)
            if text != pair and jaccard(pair, text) >= 0.8
        ]
        if near:
            expected[case.case_id] = near
    found = find_leaks(tests, train, TASK).near_duplicates
    assert found == expected
    assert list(found) == list(expected)
    back = find_leaks(train, tests, TASK).near_duplicates
    assert {(a, b) for a, near in found.items() for b in near} == {(b, a) for a, near in back.items() for b in near}
