"""What the tables in data/ and the figures in metrics/ hold; docs/formats.md and docs/metrics.md are printed from here.

    names(TABLES["transitions"])       # ("transition", "cases")
    names(METRICS["train"])            # ("epochs", "steps", "train_loss", "validation_loss")

A schema maps the names of a file, in their order, to what they hold; names that belong together share a description.
Names never change, because other tools read them. Columns of predictions: `tunediff.data.cases.PREDICTION_COLUMNS`.
"""

from collections.abc import Mapping

Schema = Mapping[str, str]


def names(schema: Schema) -> tuple[str, ...]:
    """The names of a file, in their order."""
    return tuple(" ".join(schema).split())


_SLICES = {
    "family": "tag, label, or a property of the case such as its wording or length",
    "value": "value of the family",
    "n": "cases",
    "accuracy_base accuracy_tuned": "share of right answers, 0..1",
    "delta low high": "difference, tuned minus base, with its interval",
    "repaired broken": "cases",
    "p": "exact McNemar test",
    "q": "p-value adjusted for the number of slices (Benjamini and Hochberg)",
    "delta_rest": "difference on all other cases",
    "departure": "delta minus delta_rest, in standard errors; rows are sorted by its size",
}

# CSV files: those of data/plots, then those that training and counting write.
TABLES: Mapping[str, Schema] = {
    "transitions": {"transition": "a transition, such as repaired", "cases": "number of cases"},
    "confusion_base": {"label": "gold label of a case", "prediction": "predicted label, or invalid"},
    "confusion_tuned": {"label": "gold label of a case", "prediction": "predicted label, or invalid"},
    "gain": {
        "part": "answer_format, label_bias, partial_input, residual; question answering: has_answer, no_answer",
        "cases": "net number of cases that it repairs",
        "points low high": "contribution to the difference in percentage points, with its interval",
    },
    "slices": _SLICES,
    "reliability": {
        "model": "base or tuned",
        "bin": "from 1, by rising confidence",
        "cases": "cases in the bin",
        "confidence": "mean probability of the answer, 0..1",
        "accuracy low high": "share of right answers, with its Wilson interval",
    },
    "coverage": {
        "model": "base or tuned",
        "coverage": "share of cases answered, most confident first, 0..1",
        "cases": "cases answered",
        "threshold": "lowest confidence among the answered cases",
        "accuracy": "share of right answers among them, 0..1",
    },
    "labels_to_review": {
        "case_id": "a case on which both models agree against the label, most confident first",
        "label": "gold label",
        "answer": "answer of both models",
        "confidence": "that of the less confident model, 0..1",
    },
    "baselines": {
        "baseline": "a trivial baseline, best first",
        "accuracy": "its share of right answers, 0..1",
        "gain low high": "difference, tuned model minus baseline, with its interval",
        "repaired broken": "cases that only the tuned model, and only the baseline, gets right",
        "p": "exact McNemar test",
    },
    "contamination": {
        "transition": "a transition, such as repaired",
        "cases": "cases of the transition",
        "same_inputs": "those with the same inputs as a training case",
        "near_duplicates": "those with a near-duplicate in training",
        "clean": "those with neither",
    },
    "labels": {
        "label": "label, for tasks with labels",
        "metric": "precision, recall or F1",
        "n": "cases of this gold label",
        "base tuned": "value before and after, 0..1",
        "delta low high": "difference with its interval",
        "p": "p-value",
        "q": "p-value adjusted for the number of rows (Benjamini and Hochberg)",
    },
    "differences": {
        "metric": "a metric of the task, accuracy first",
        "base tuned": "value before and after",
        "delta low high": "difference with its interval",
        "p": "p-value",
        "p_holm": "p-value adjusted for the number of metrics (Holm)",
    },
    "train_log": {
        "epoch step": "when the row was written",
        "train_loss validation_loss": "nats per target",
    },
    "pretrain_log": {
        "epoch step": "when the row was written, after each epoch",
        "train_loss validation_loss": "nats per target",
        "perplexity": "exponential of the mean validation loss per token to predict",
        "mlm_accuracy nsp_accuracy": "encoders: share of masked tokens and of next texts predicted, 0..1",
    },
    "parameters": {
        "module parameter": "name of a tensor, one row each",
        "part": "base, head or adapter",
        "kind": "embedding, linear, norm or other",
        "shape": "of the tensor",
        "dtype": "in memory; nf4, fp4, int8: packed; tied: to a tensor counted above; removed: only in the base",
        "base tuned": "logical parameters before and after",
        "stored bytes": "elements and bytes in memory after fine-tuning",
        "trainable": "whether fine-tuning trains it; empty if not known",
    },
}

# The figures of a model on a test set: metrics/eval_base.json, metrics/eval_tuned.json.
LABELS: Schema = {
    "n": "cases",
    "accuracy accuracy_low accuracy_high": "share of right answers, with its Wilson interval",
    "balanced_accuracy": "mean recall over the labels",
    "macro_f1": "mean F1 over the labels",
    "invalid": "number of invalid answers",
    "nll": "negative log-likelihood of the gold label, nats per case",
    "brier": "Brier score of the probabilities",
    "degenerate": "1 for a degenerate predictor, whose accuracy does not require reading the case, otherwise 0",
}
FURTHER_LABELS: Schema = {
    "precision recall f1": "two labels: of the positive one, the last of `task.labels`, as in `[negative, positive]`",
    "score_NAME": "`multiple_choice`: share of right answers by each other option score",
}
QUESTIONS: Schema = {
    "n": "questions",
    "invalid": "answers that could not be parsed, which are wrong even for a question without an answer",
    "exact exact_low exact_high f1": "0..100: exact match with its Wilson interval, token F1, as in evaluate-v2.0.py",
    "HasAns_exact HasAns_f1 HasAns_total": "the same for questions with an answer, and their number",
    "NoAns_exact NoAns_f1 NoAns_total": "the same for questions without an answer",
    "best_exact best_exact_thresh best_f1 best_f1_thresh": (
        "0..100: at the best threshold on the same questions, so optimistic"
    ),
    "validated_exact validated_exact_thresh validated_f1 validated_f1_thresh": (
        "0..100: at the best threshold on the validation split, as in practice"
    ),
    "bleu bleu_precision_1 bleu_precision_2 bleu_precision_3 bleu_precision_4": (
        "0..100: sacrebleu, smoothing `exp`, tokens `13a`"
    ),
    "bleu_brevity_penalty bleu_system_length bleu_reference_length": "the penalty in 0..1, lengths in words",
    "rouge1 rouge2 rougeL rougeLsum": "0..1: rouge-score without stemming, mean F-measure over the questions",
    "meteor meteor_without_synonyms": "0..1: nltk, mean over the questions; the second name without WordNet",
}
FREE_TEXT: Schema = {
    "n": "cases",
    "accuracy accuracy_low accuracy_high": "share of right answers by the first grade, with its Wilson interval",
    "invalid": "number of invalid answers",
    "score_NAME": "0..1: mean of a grade over the cases; NAME is its `name`, or its `by`",
    "bleu bleu_precision_1 bleu_precision_2 bleu_precision_3 bleu_precision_4": (
        "0..100: corpus BLEU as above, if `bleu` is a grade; `score_bleu` is the mean over the cases"
    ),
    "bleu_brevity_penalty bleu_system_length bleu_reference_length": "the penalty in 0..1, lengths in words",
    "trait_words": "mean number of words per answer",
    "trait_empty": "0..1: share of answers without a word",
    "trait_cut": "0..1: share of answers cut off at `evaluate.max_new_tokens`",
    "trait_repetition": "0..1: mean share of 4-grams that occur earlier in the same answer (Welleck et al. 2020)",
    "trait_other_script": (
        "0..1: share of answers written mostly in a script that appears neither in the references nor in the inputs"
    ),
}

_COMPARED = {
    "n": "cases",
    "both_right repaired broken both_wrong_same both_wrong_changed": "cases of each transition",
    "accuracy_base accuracy_tuned": "share of right answers, 0..1",
    "accuracy_delta accuracy_delta_low accuracy_delta_high": "tuned minus base, with Tango's interval",
    "mcnemar_p mcnemar_midp": "McNemar's test: exact and mid-p",
    "churn": "share of cases with a different answer; two right answers count as the same",
    "negative_flip_rate negative_flip_rate_low negative_flip_rate_high": "share of broken cases, exact interval",
    "minimum_detectable_delta": "smallest difference that this number of cases and flips detects with 80 % power",
    "became_valid became_invalid": "cases with an invalid answer only before, and only after",
}
_NOISE = {"noise_floor_flips noise_floor_changed": "base model at another batch size: flips, and different answers"}
_AGAINST = {
    "signal_to_noise": "absolute difference divided by its standard error, including the noise floor",
    "agreed_against_label": "cases in labels_to_review.csv",
    "baseline_best": "accuracy of the best trivial baseline",
    "gain_over_baseline gain_over_baseline_low gain_over_baseline_high": "tuned model minus that baseline",
}

# metrics/NAME.json. Only what was requested is in a file.
METRICS: Mapping[str, Schema] = {
    "prepare": {
        "train_n validation_n test_n": "cases of each split",
        "dropped_unlabelled": "rows without a gold label",
        "dropped_shared_sources": "rows of train and validation whose source input is in a later split",
        "leaked_pairs": "test cases with the same inputs as a training case",
        "shared_sources": "test cases with the same source input as a training case",
        "shared_partial_inputs": "test cases with the same partial input as a training case",
        "near_duplicates": "test cases with a near-duplicate in training",
        "validation_leaked_pairs validation_shared_sources validation_shared_partial_inputs "
        "validation_near_duplicates": "the same for validation cases",
    },
    "base_model": {
        "epochs steps": "length of the pretraining",
        "train_loss validation_loss": "nats per target",
        "perplexity": "exponential of the mean validation loss per token to predict",
        "documents validation_documents": "documents of the text",
        "vocab_size": "tokens of the tokenizer; the only key of a base trained elsewhere",
    },
    "count_params": {
        "base_total": "logical parameters of the base",
        "removed": "parameters of the base that the tuned model does not have",
        "head_added": "parameters of the new head",
        "base_with_head_total": "base_total - removed + head_added",
        "adapter_added": "parameters of the adapter",
        "tuned_total": "base_with_head_total + adapter_added",
        "trainable": "trained parameters",
        "trainable_percent": "trainable in percent of tuned_total",
        "packed_base_total packed_total": "stored elements of the base part and of the tuned model",
        "packed_trainable_percent": "trainable in percent of packed_total, as tools print it for 4-bit models",
        "bytes": "memory of the tuned model's weights",
    },
    "eval_base": LABELS,
    "eval_tuned": LABELS,
    "train": {
        "epochs steps": "length of the training",
        "train_loss validation_loss": "of the selected epoch, nats per target",
    },
    "loss": {
        "epoch step": "the selected epoch; during training, the last complete epoch and the step",
        "train_loss validation_loss": "the same, nats per target",
    },
    "diff_cases": {
        **_COMPARED,
        "gain_answer_format gain_label_bias gain_partial_input gain_residual": "parts of the difference",
        "choices_accuracy_base choices_accuracy_tuned": "accuracy if each model chooses a label instead of writing it",
        **_NOISE,
        **_AGAINST,
    },
    "diff_cases of questions": {
        **_COMPARED,
        "f1_base f1_tuned f1_delta f1_delta_low f1_delta_high f1_p": "token F1, 0..1, its difference and test",
        "has_answer_n has_answer_exact_base has_answer_f1_base has_answer_exact_tuned has_answer_f1_tuned": (
            "questions with an answer"
        ),
        "no_answer_n no_answer_exact_base no_answer_f1_base no_answer_exact_tuned no_answer_f1_tuned": (
            "questions without an answer"
        ),
        "best_exact_base best_exact_tuned best_exact_delta best_exact_delta_low best_exact_delta_high best_exact_p": (
            "exact match at the best threshold of each model"
        ),
        "best_f1_base best_f1_tuned best_f1_delta best_f1_delta_low best_f1_delta_high best_f1_p": (
            "token F1 at the best threshold of each model"
        ),
        "gain_has_answer gain_no_answer": "parts of the difference",
        **_NOISE,
        "noise_floor_seed_flips noise_floor_seed_changed": "base model with another new head",
        **_AGAINST,
    },
    "summary": {
        "n accuracy_base accuracy_tuned accuracy_delta accuracy_delta_low accuracy_delta_high repaired broken "
        "gain_over_baseline": "as in diff_cases.json",
        "invalid_base invalid_tuned": "number of invalid answers",
        "nll_tuned": "as in calibration.json",
    },
    "baselines": {
        "bag_of_words_accuracy": "logistic regression on the words of all inputs",
        "calibrated_base_accuracy": "the base model, corrected for its preference for a label",
        "few_shot_base_accuracy": "the base model with solved examples before the prompt",
        "majority_accuracy": "always the most frequent training label",
        "partial_input_accuracy": "logistic regression on the words of the partial input",
    },
    "calibration": {
        "nll_base nll_tuned nll_delta nll_delta_low nll_delta_high": "negative log-likelihood, nats per case",
        "brier_base brier_tuned brier_delta brier_delta_low brier_delta_high": "Brier score",
        "ece_base ece_base_low ece_base_high ece_tuned ece_tuned_low ece_tuned_high ece_delta ece_delta_low "
        "ece_delta_high": "expected calibration error",
    },
}
# Files per stage, in metrics/environment/ and metrics/cost/. Keys that do not apply are missing.
STAGE_FILES: Mapping[str, Schema] = {
    "environment/STAGE": {
        "torch transformers peft bitsandbytes": "versions of the libraries",
        "device": "name of the GPU, or the processor and its instruction set",
        "threads": "number of threads, on the CPU",
        "attention dtype": "attention kernel and dtype of the computation",
        "engine server": "`server`, and the name and version of the server, in place of the keys above",
        "scoring": "how the server scores choices",
        "chat_template": "hash of the chat template",
        "model": "properties of the model as it was loaded: the keys below",
        "model.head": "`new`, `checkpoint` or `trained`",
        "model.labels": "labels in the order of the outputs of a classification head",
        "model.parameters": "parameters found in the network",
        "model.linear_layers model.nf4_layers model.nf4_share": "layers, and the share of their weights in NF4",
        "model.quantized_layers model.unpacked": "quantized layers by precision, others by type",
        "model.dtypes": "parameters that are not quantized, by dtype",
        "model.adapted_layers model.idle_layers": "layers with an adapter, and those whose adapter changes nothing",
        "model.cautions": "what is unusual, in sentences",
        "model.served model.url model.scoring": "name and address of a served model, and how choices are scored",
        "model.repeat_nats model.aligned_nats model.cut_nats": "largest differences in the checks before a run",
    },
    "cost/STAGE": {
        "seconds": "since the start of the stage's process, imports included",
        "peak_memory_bytes": "of the GPUs if any were used, else of the process",
        "device": "GPUs, or the processor, its cores and its memory",
        "gpu_seconds": "seconds times the number of GPUs, if any were used",
        "energy_joules": "of these GPUs, if NVML counts it",
    },
}
