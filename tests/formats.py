"""Names in the files that stages write, which others read and which stay: docs/formats.md prints them.

assert names(METRICS["summary"]) == list(metrics)
assert metrics_row("summary") in page
"""

METRICS = {
    "prepare": """
        train_n validation_n test_n dropped_unlabelled dropped_shared_sources leaked_pairs shared_sources
        shared_partial_inputs near_duplicates validation_leaked_pairs validation_shared_sources
        validation_shared_partial_inputs validation_near_duplicates
    """,
    "base_model": """
        epochs steps train_loss validation_loss perplexity documents validation_documents vocab_size
    """,
    "count_params": """
        base_total removed head_added base_with_head_total adapter_added tuned_total trainable trainable_percent
        packed_base_total packed_total packed_trainable_percent bytes
    """,
    "eval_base": """
        n accuracy accuracy_low accuracy_high balanced_accuracy macro_f1 invalid nll brier degenerate
    """,
    "eval_tuned": """
        n accuracy accuracy_low accuracy_high balanced_accuracy macro_f1 invalid nll brier degenerate
    """,
    "train": """
        epochs steps train_loss validation_loss
    """,
    "diff_cases": """
        n both_right repaired broken both_wrong_same both_wrong_changed accuracy_base accuracy_tuned accuracy_delta
        accuracy_delta_low accuracy_delta_high mcnemar_p mcnemar_midp churn negative_flip_rate
        negative_flip_rate_low negative_flip_rate_high minimum_detectable_delta became_valid became_invalid
        gain_answer_format gain_label_bias gain_partial_input gain_residual choices_accuracy_base
        choices_accuracy_tuned noise_floor_flips noise_floor_changed signal_to_noise agreed_against_label
        baseline_best gain_over_baseline gain_over_baseline_low gain_over_baseline_high
    """,
    "summary": """
        n accuracy_base accuracy_tuned accuracy_delta accuracy_delta_low accuracy_delta_high repaired broken
        gain_over_baseline invalid_base invalid_tuned nll_tuned
    """,
    "diff_cases of questions": """
        n both_right repaired broken both_wrong_same both_wrong_changed accuracy_base accuracy_tuned accuracy_delta
        accuracy_delta_low accuracy_delta_high mcnemar_p mcnemar_midp churn negative_flip_rate
        negative_flip_rate_low negative_flip_rate_high minimum_detectable_delta became_valid became_invalid f1_base
        f1_tuned f1_delta f1_delta_low f1_delta_high f1_p has_answer_n has_answer_exact_base has_answer_f1_base
        has_answer_exact_tuned has_answer_f1_tuned no_answer_n no_answer_exact_base no_answer_f1_base
        no_answer_exact_tuned no_answer_f1_tuned best_exact_base best_exact_tuned best_exact_delta
        best_exact_delta_low best_exact_delta_high best_exact_p best_f1_base best_f1_tuned best_f1_delta
        best_f1_delta_low best_f1_delta_high best_f1_p gain_has_answer gain_no_answer noise_floor_flips
        noise_floor_changed noise_floor_seed_flips noise_floor_seed_changed signal_to_noise agreed_against_label
        baseline_best gain_over_baseline gain_over_baseline_low gain_over_baseline_high
    """,
    "baselines": """
        bag_of_words_accuracy calibrated_base_accuracy few_shot_base_accuracy majority_accuracy
        partial_input_accuracy
    """,
    "calibration": """
        nll_base nll_tuned nll_delta nll_delta_low nll_delta_high brier_base brier_tuned brier_delta brier_delta_low
        brier_delta_high ece_base ece_base_low ece_base_high ece_tuned ece_tuned_low ece_tuned_high ece_delta
        ece_delta_low ece_delta_high
    """,
}

# Of data/plots/.
TABLES = {
    "transitions": """
        transition cases
    """,
    "confusion_base": """
        label prediction
    """,
    "confusion_tuned": """
        label prediction
    """,
    "gain": """
        part cases points low high
    """,
    "slices": """
        family value n accuracy_base accuracy_tuned delta low high repaired broken p q delta_rest departure
    """,
    "reliability": """
        model bin cases confidence accuracy low high
    """,
    "coverage": """
        model coverage cases threshold accuracy
    """,
    "labels_to_review": """
        case_id label answer confidence
    """,
    "baselines": """
        baseline accuracy gain low high repaired broken p
    """,
    "contamination": """
        transition cases same_inputs near_duplicates clean
    """,
    "labels": """
        label metric n base tuned delta low high p q
    """,
    "differences": """
        metric base tuned delta low high p p_holm
    """,
}


def names(of):
    """The names of a file, in their order."""
    return of.split()


def metrics_row(file):
    """How the row of a file of metrics begins."""
    name, _, of = file.partition(" ")
    return f"| `{name}.json`{of and f' {of}'} | {_printed(METRICS[file])} "


def table_row(file):
    """How the columns of a table stand in its row."""
    return f"`{file}.csv` | {_printed(TABLES[file])} "


def columns_rows(columns):
    """The rows of columns of which the code says what they hold."""
    return "\n".join(f"| `{name}` | {what} |" for name, what in columns.items())


def _printed(of):
    return " ".join(f"`{name}`" for name in names(of))
