import re
from dataclasses import replace

import pytest

from tests.report.made import NO_PRICE, TASK, made_cases, made_results, usual_cases, write_inputs
from tunediff.config.cost import Cost
from tunediff.report.findings import findings
from tunediff.report.results import read_results
from tunediff.runtime.files import write_json


@pytest.fixture
def find(tmp_path):
    """Findings of made-up cases, with ordinary spaces."""

    def find(cases, task=TASK, confidence=0.95, cost=NO_PRICE, **changes):
        given = {"confidence": confidence, "cost": cost, **changes}
        found = findings(made_results(tmp_path, cases, task.labels, task.inputs, **given))

        def plain(value):
            if value is None:
                return None
            if isinstance(value, str):
                return value.replace("\N{NO-BREAK SPACE}", " ")
            return type(value)(*map(plain, value)) if hasattr(value, "_fields") else tuple(map(plain, value))

        return type(found)(*(plain(getattr(found, name)) for name in found.__dataclass_fields__))

    return find


def names(found):
    return [check.name for check in found.checks]


def check(found, name):
    (sentence,) = [check.sentence for check in found.checks if check.name == name]
    return sentence


def figures(text):
    """The figures of a text in their order."""
    return re.findall(r"[+−]?\d(?:[\d,.:]*\d)?", text)


def flip(cases, who, prediction):
    """The cases with one answer for all from one of the models, and the transitions that follow."""
    flipped = []
    for case in cases:
        case = {**case, f"{who}_prediction": prediction}
        right = (case["base_prediction"] == case["label"], case["tuned_prediction"] == case["label"])
        same = case["base_prediction"] == case["tuned_prediction"]
        wrong = "both_wrong_same" if same else "both_wrong_changed"
        cell = {(True, True): "both_right", (False, True): "repaired", (True, False): "broken"}.get(right, wrong)
        flipped.append({**case, "transition": cell})
    return flipped


def test_a_gain_is_told_with_its_intervals_and_test(find):
    found = find(made_cases(both_right=39, repaired=49, broken=2, both_wrong_same=10))
    assert found.headline == "In this checkpoint, fine-tuning raised accuracy from 41.0 % to 88.0 % on 100 test cases."
    assert [paragraph.about for paragraph in found.paragraphs] == [
        "What changed",
        "Repaired and broken cases",
        "Trivial baselines",
        "Cost of the run",
    ]
    both, difference, flips, broken, baselines, cost = found.sentences
    assert figures(both) == ["100", "41.0", "95", "31.9", "50.8", "88.0", "80.2", "93.0"]
    assert "+47.0 points (95 % interval +36.1 to +57.2 points; exact McNemar test, p = 1.2 × 10⁻¹²)" in difference
    assert figures(flips) == ["59", "49", "83.1", "10", "41", "2", "4.9"]
    assert figures(broken) == ["2.0", "95", "0.2", "7.0", "5"]
    assert figures(baselines) == ["33.8", "41.1", "+54.2", "+46.9"]
    assert figures(cost) == ["00:34:40", "00:04:23", "2.25", "44.27", "36.38", "57.59", "47"]


def test_a_price_puts_the_cost_of_a_gained_case_in_money_beside_its_seconds_and_gpu_seconds(find):
    found = find(usual_cases(), cost=Cost(price_per_hour=1.2, currency="EUR"), evidence=True)
    # 2,080.5 s at 1.20 an hour; 632 of 1,200 cases, interval of the difference +49.6 to +55.7 points
    assert "; at 1.20 EUR per hour that is 0.693 EUR. That is 3.29 seconds (3.12 to 3.49), " in found.sentences[-1]
    assert (
        "0.427 GPU seconds (0.404 to 0.454) and 0.0011 EUR (0.00104 to 0.00116) for each of the 632 cases "
        in (found.sentences[-1])
    )


def test_no_price_no_money_and_no_gpu_no_gpu_seconds(find):
    said = find(usual_cases()).sentences[-1]
    assert "USD" not in said
    assert "GPU" not in said


def test_a_good_experiment_has_no_check(find):
    assert names(find(usual_cases())) == []


def test_a_loss_is_called_worse(find):
    found = find(made_cases(both_right=39, repaired=2, broken=49, both_wrong_same=10))
    worse = "fine-tuning made the model worse: accuracy fell from 88.0 % to 41.0 % on 100 test cases."
    assert found.headline == f"In this checkpoint, {worse}"
    assert found.sentences[1].startswith("The difference is −47.0 points (95 % interval −57.2 to −36.1 points;")


def test_a_side_without_a_valid_answer_is_the_headline_and_not_a_model_at_chance(find, tmp_path):
    cases = made_cases(both_right=39, repaired=49, broken=2, both_wrong_same=10)
    silent = flip(cases, "base", None)
    assert find(silent).headline == (
        "The base model gave no valid answer to any of 100 test cases; the tuned model is right on 88.0 %."
    )
    assert find(flip(cases, "tuned", None)).headline == (
        "The tuned model gave no valid answer to any of 100 test cases; the base model is right on 41.0 %."
    )
    assert find(flip(silent, "tuned", None)).headline == (
        "Neither the base model nor the tuned model gave a valid answer to any of 100 test cases."
    )


def test_where_only_the_format_was_missing_the_headline_says_what_the_choices_score(find):
    silent = flip(made_cases(both_right=39, repaired=49, broken=2, both_wrong_same=10), "base", None)
    measured = {"choices_accuracy_base": 0.41, "choices_accuracy_tuned": 0.88, "gain_answer_format": 0.41}
    headline = find(silent, diff_cases=measured).headline
    assert headline.startswith("The base model gave no valid answer to any of 100 test cases")
    assert "Scored by its choices, the base model is right on 41.0 %" in headline
    assert figures(headline) == ["100", "88.0", "41.0", "+88.0", "+41.0"]


def test_no_evidence_either_way_is_not_called_equal(find):
    found = find(made_cases(both_right=39, repaired=9, broken=7, both_wrong_same=10))
    assert found.headline == "No difference was shown between the base model and the tuned model on 65 test cases."
    assert found.sentences[1].endswith(
        "The interval includes zero: chance alone could explain it. This does not prove that the models are equal."
    )


def test_a_difference_counts_only_where_test_and_interval_agree(find):
    found = find(made_cases(both_right=10, repaired=5, both_wrong_same=5))
    assert found.headline.startswith("No difference was shown")
    assert "p = 0.0625" in found.sentences[1]
    assert found.sentences[1].endswith(
        "The interval excludes zero, but the exact test does not rule out chance: too few cases changed."
    )


def test_the_confidence_moves_the_verdict(find):
    cases = made_cases(both_right=10, repaired=7, both_wrong_same=5)
    assert find(cases).headline.startswith("In this checkpoint, fine-tuning raised accuracy")
    found = find(cases, confidence=0.999)
    assert found.headline.startswith("No difference was shown")
    assert "99.9 % interval" in found.sentences[1]


def test_a_model_against_itself_gives_zero_flips_and_is_said_to(find):
    found = find(made_cases(both_right=30, both_wrong_same=10))
    assert found.sentences[1].endswith(
        "no case changed between right and wrong, and no answer differs, as when a model is compared with itself (A/A)."
    )


def test_nothing_changed_is_said_so(find):
    found = find(made_cases(both_right=30, both_wrong_changed=10))
    assert found.sentences[1].endswith("p = 1.00): no case changed between right and wrong.")
    assert "10 stayed wrong, 10 of them with a different answer" in found.sentences[2]
    assert "fine-tuning broke none" in found.sentences[2]
    assert found.limits[0].startswith(
        "Of 40 cases, none changed between right and wrong, too few to detect a difference;"
    )
    assert found.sentences[-1].endswith("on balance, no case was gained.")


def test_one_case_shows_nothing(find):
    found = find(made_cases(repaired=1))
    assert found.headline == "No difference was shown between the base model and the tuned model on 1 test case."
    assert found.sentences[0].startswith("Both models answered the same single case. The base model is right on 0.0 %")
    assert found.sentences[2] == (
        "Of the 1 case that the base model got wrong, fine-tuning repaired 1 (100.0 %). The base model got no case "
        "right, so none could break."
    )
    assert found.limits[0] == "1 case cannot detect any difference (two-sided 5 % level)."
    assert found.sentences[-1].endswith(
        "2,080.50 seconds (2,080.50 or more) for the one case gained (repaired minus broken)."
    )


def test_no_broken_case_still_has_a_bound(find):
    found = find(made_cases(both_right=30, repaired=20, both_wrong_same=10))
    assert (
        "Zero broken cases out of 30 are consistent with a true rate of up to 11.6 % (exact 95 % interval)."
        in found.limits
    )


def test_a_perfect_model_still_has_a_bound(find):
    found = find(made_cases(both_right=80, repaired=20))
    assert found.limits[2] == (
        "The tuned model made no error here but may still be wrong on up to 3.6 % of such cases (exact 95 % interval)."
    )


def test_all_right_both_times_leaves_nothing_to_repair(find):
    found = find(made_cases(both_right=12))
    assert found.sentences[2].startswith("The base model got no case wrong, so none could be repaired.")


def test_the_smallest_difference_that_the_test_set_can_show_is_that_of_the_table(find):
    # 8.8 points: McNemar's normal approximation for 100 cases, 10 % discordant, at 5 % and 80 % power.
    found = find(made_cases(both_right=60, repaired=7, broken=3, both_wrong_same=30))
    assert found.limits[0].startswith(
        "100 cases, of which 10 changed between right and wrong, detect a difference of 8.8 points or more with 80 % "
        "power (two-sided 5 % level)."
    )


def test_cases_that_share_a_premise_are_no_independent_cases(find):
    cases = made_cases(both_right=10, repaired=10)
    for case in cases:
        case["premise"] = f"Premise {int(case['case_id'], 16) // 2}."
    assert any(limit.startswith("The 20 cases share 10 different premises.") for limit in find(cases).limits)
    assert not any("share" in limit for limit in find(usual_cases()).limits)


def test_one_gold_label_is_named(find):
    found = find(made_cases(both_right=39, repaired=9, broken=7, both_wrong_same=10, gold="neutral"))
    assert check(found, "One gold label").startswith("Every test case has the gold label neutral:")


def test_a_degenerate_base_model_is_named_with_its_label(find):
    found = find(flip(made_cases(repaired=70, both_right=20, broken=9), "base", "neutral"))
    assert "It answers 'neutral' for 100.0 % of 99 cases" in check(found, "Degenerate base model")
    assert "Degenerate tuned model" not in names(found)


def test_a_degenerate_tuned_model_is_named(find):
    found = find(flip(made_cases(both_right=60, both_wrong_same=39), "tuned", "entailment"))
    assert "It answers 'entailment'" in check(found, "Degenerate tuned model")


def test_a_base_model_at_chance_is_named(find):
    found = find(made_cases(both_right=33, repaired=60, both_wrong_same=7))
    assert check(found, "Base model at chance") == (
        "The base model is right on 33.0 % (24.6 to 42.7 %) of 100 cases; guessing among 3 labels scores 33.3 %. A "
        "gain over it then measures learning the task from scratch."
    )
    better = find(made_cases(both_right=50, repaired=40, both_wrong_same=10))
    assert "Base model at chance" not in names(better)


def test_a_gain_that_a_cheap_baseline_matches_says_so_at_the_top(find):
    cases = made_cases(both_right=45, repaired=15, both_wrong_same=40)
    found = find(cases, baselines={"partial_input_accuracy": 0.60})
    assert found.headline.endswith("to 60.0 % on 100 test cases, no more than a trivial baseline scores.")
    assert check(found, "No better than a trivial baseline") == (
        "A trivial baseline scores 60.0 % on these cases, the tuned model 60.0 %."
    )


def test_an_advantage_over_the_baselines_within_the_interval_is_named(find):
    found = find(made_cases(both_right=45, repaired=15, both_wrong_same=40), baselines={"majority_accuracy": 0.55})
    assert check(found, "Not clearly above the baselines").endswith("-1.0 to +11.0 points, includes zero.")
    assert found.headline.endswith("on 100 test cases.")


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ((0.40, 0.15, 0.25), "20.0 points above the best trivial baseline (40.0 %)"),
        ((0.57, -0.04, 0.09), "not shown to be above the best trivial baseline (57.0 %)"),
        ((0.65, -0.11, 0.02), "no more than the best trivial baseline (65.0 %)"),
    ],
)
def test_a_base_with_an_untrained_head_is_no_measure_of_a_gain_but_the_best_trivial_baseline_is(
    find, baseline, expected
):
    best, low, high = baseline
    diff = {"baseline_best": best, "gain_over_baseline": 0.6 - best}
    diff |= {"gain_over_baseline_low": low, "gain_over_baseline_high": high}
    cases = made_cases(both_right=45, repaired=15, both_wrong_same=40)
    found = find(cases, diff_cases=diff, environment_predict_base={"model": {"head": "new"}})
    assert found.headline == (
        f"In this checkpoint, fine-tuning reached 60.0 % accuracy on 100 test cases, {expected}; the head of the base "
        "model was untrained."
    )
    trained = find(cases, diff_cases=diff, environment_predict_base={"model": {"head": "checkpoint"}})
    assert trained.headline.startswith("In this checkpoint, fine-tuning raised accuracy from 45.0 %")


def test_leaks_are_counted(find):
    found = find(usual_cases(), prepare={"leaked_pairs": 3, "near_duplicates": 17})
    assert check(found, "Test-set contamination") == (
        "Of the 1,200 test cases, 3 also occur in the training split, 17 have a near-duplicate in training. Part of "
        "the tuned model's accuracy may be memorization."
    )


def test_invalid_answers_are_counted_and_tied_to_the_gain(find):
    found = find(made_cases(both_right=40, repaired=50, broken=5, both_wrong_same=5, invalid_base=30))
    assert check(found, "Invalid answers of the base model") == (
        "30 answers of the base model (30.0 %) name no label and count as wrong. They include 30 of the 50 repaired "
        "cases: that gain may be due to the answer format alone."
    )


def test_a_perplexity_above_the_vocabulary_raises_a_check_and_one_below_none(find):
    said = check(
        find(usual_cases(), base_model={"perplexity": 3_482_913.0, "vocab_size": 30522}),
        "Perplexity above the vocabulary",
    )
    assert said.startswith("The perplexity of 3,482,913 is above that of guessing evenly among 30,522 tokens")
    for figures in ({"perplexity": 412.5, "vocab_size": 30522}, {"vocab_size": 30522}):
        assert "Perplexity above the vocabulary" not in names(find(usual_cases(), base_model=figures))


def test_of_a_tuned_model_that_was_not_trained_here_nothing_is_said_of_its_training(find):
    found = find(usual_cases(), pinned=True)
    text = " ".join([*found.sentences, *found.limits])
    assert "The tuned model was not trained here: variation between training runs is unknown." in found.limits
    assert "Its training data are unknown too, so test-set contamination cannot be ruled out." in found.limits
    assert found.parameters.endswith("which of its parameters were trained is unknown.")
    for false in ("Two prediction files", "trained once", "training took"):
        assert false not in text
    assert "The model was trained once" in " ".join(find(usual_cases()).limits)


def test_rising_validation_loss_while_training_loss_falls_is_named(find):
    losses = [(0.5763, 0.4711), (0.4187, 0.4581), (0.3727, 0.4723)]
    assert check(find(usual_cases(), losses=losses), "Overfitting") == (
        "Validation loss was lowest in epoch 2 (0.458) and rose to 0.472 by epoch 3, while training loss kept falling."
    )
    assert "Overfitting" not in names(find(usual_cases(), losses=[(0.5, 0.4), (0.6, 0.5)]))
    assert "Overfitting" not in names(find(usual_cases(), losses=[(0.5, 0.4)]))


def test_packed_storage_is_told_apart_from_parameters(find):
    packed = find(usual_cases()).parameters
    assert figures(packed) == ["20,971,520", "2,800,655,360", "0.749", "1,542,364,160", "4", "1.360"]
    plain = find(usual_cases(), count_params={"packed_total": 2800655360, "packed_trainable_percent": 0.74880758})
    assert plain.parameters.endswith("No layer is packed: memory holds one element per parameter.")


def test_a_task_with_one_input_has_no_premise_to_leave_out(find):
    task = replace(TASK, inputs=["premise"], partial_input="premise")
    found = find(usual_cases(), task=task, prepare={"leaked_pairs": 2, "shared_sources": 2})
    assert "a bag-of-words classifier scores" in found.sentences[4]
    assert "premise" not in check(found, "Test-set contamination")


def test_every_sentence_ends_and_holds_no_leftover(find):
    for cases in (usual_cases(), made_cases(repaired=1), made_cases(both_right=1), made_cases(broken=3)):
        found = find(cases)
        texts = [found.headline, *found.sentences, *found.limits, *(c.sentence for c in found.checks)]
        for text in texts:
            assert text.endswith(".")
            assert not re.search(r"nan|None|inf\b|\{|\}|  ", text)


def test_what_the_gain_consists_of_is_told_part_by_part(find):
    found = find(usual_cases(), evidence=True)
    (gain,) = [paragraph.sentences for paragraph in found.paragraphs if paragraph.about == "Parts of the change"]
    assert figures(*gain) == [
        *("+52.7", "+5.3", "+3.3", "+7.3", "+13.2", "+11.2", "+15.2"),
        *("−2.6", "−4.6", "−0.6", "+36.9", "+34.9", "+38.9", "95"),
    ]


@pytest.mark.slow
def test_the_best_baseline_stands_for_all_of_them_where_its_gain_was_measured(find):
    told = " ".join(find(usual_cases(), evidence=True).sentences)
    assert (
        "Relative to the best of all trivial baselines (base model without its label bias, 52.0 %), the tuned "
        "model scores +36.7" in told
    )
    found = find(usual_cases(), evidence=True, diff_cases={"gain_over_baseline_low": -0.01})
    assert check(found, "Not clearly above the baselines").endswith("includes zero.")


@pytest.mark.slow
def test_flips_that_need_no_training_stand_beside_the_real_ones(find):
    found = find(usual_cases(), evidence=True)
    assert any("the base model flipped 3 of 1,200 cases without any training" in text for text in found.sentences)
    assert "Flips within the noise" not in names(found)
    noisy = find(usual_cases(), evidence=True, diff_cases={"noise_floor_flips": 400})
    assert "400 cases" in check(noisy, "Flips within the noise")


def test_an_acknowledged_check_stands_apart_with_its_reason(find):
    leaks = {"leaked_pairs": 3, "near_duplicates": 17}
    found = find(usual_cases(), prepare=leaks, acknowledge={"TD203": "The same for both models."})
    assert names(found) == []
    [known] = found.acknowledged
    assert (known.code, known.acknowledged) == ("TD203", "The same for both models.")


def test_what_is_left_without_leaked_cases_is_told(find):
    found = find(usual_cases(), evidence=True, prepare={"near_duplicates": 5})
    assert check(found, "Test-set contamination").endswith("the difference is +50.0 points (+47.0 to +53.0 points).")


def test_a_training_split_that_no_classifier_learns_from_leaves_the_majority_label(tmp_path):
    paths = write_inputs(tmp_path, usual_cases())
    write_json(paths["baselines"], {"majority_accuracy": 0.338})
    found = findings(read_results(paths, TASK, 0.95, NO_PRICE))
    (told,) = [paragraph.sentences for paragraph in found.paragraphs if paragraph.about == "Trivial baselines"]
    assert told[0].replace("\N{NO-BREAK SPACE}", " ") == (
        "On the same cases, always giving the most frequent training label scores 33.8 %. Relative to it, the tuned "
        "model scores +54.9 points."
    )


def test_a_gain_that_was_paid_for_in_broken_cases_is_not_called_one(find):
    assert find(made_cases(both_right=10, broken=4)).sentences[-1].endswith("on balance, cases were lost.")
