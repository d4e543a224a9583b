"""The checks of the stage diff_cases by their codes, and which of them are acknowledged."""

import difflib
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import Field

from tunediff.config.section import Section


class Check(NamedTuple):
    """A check: its name, what it means, and what to do about it."""

    name: str
    meaning: str
    action: str


# A code never changes its meaning and is never reused: a params.yaml may acknowledge it.
CHECKS = {
    "TD101": Check(
        "Degenerate model",
        "A model gives the same answer to nearly every case, or is no better than always giving the most frequent "
        "gold label: such an accuracy and F1 can be reached without reading the case.",
        "Look at the confusion table. Check the prompt, how answers are parsed, the learning rate and the balance of "
        "the training labels.",
    ),
    "TD102": Check(
        "Model at chance",
        "The interval of a model's accuracy is not above chance level. A gain over a base model at "
        "chance measures learning the task from scratch.",
        "Prompt the base model better (another template, few-shot examples, another scoring method) before "
        "reporting the gain as progress.",
    ),
    "TD103": Check(
        "One gold label",
        "Every test case has the same gold label, so a model that always gives that label is right on every case.",
        "Use a test set with cases of each label.",
    ),
    "TD104": Check(
        "Accuracy repeated",
        "A macro F1, precision, recall or F1 equals the accuracy to six digits although the counts give a different "
        "value: the figure was copied, or averaged differently from what its name implies.",
        "Rerun the evaluation stages; do not use the figures in this file.",
    ),
    "TD105": Check(
        "Perplexity above the vocabulary",
        "The perplexity of the base model is above that of uniform guessing over all tokens.",
        "The model, or the labels that it is measured on, are broken: pretrain again, and check tokenizer and shift.",
    ),
    "TD106": Check(
        "Text metrics near zero",
        "ROUGE or METEOR is near zero although the token F1 is not: predictions and references are probably "
        "misaligned.",
        "Compare a few rows of the prediction file with the test split manually.",
    ),
    "TD107": Check(
        "Rates of classes left out",
        "Balanced accuracy and macro F1 are not compared: the answers are not labels from a known list, or there "
        "are too few of them.",
        "List the labels if the task has any; for free-text answers nothing is wrong.",
    ),
    "TD201": Check(
        "No better than a trivial baseline",
        "A trivial baseline is at least as accurate as the tuned model.",
        "Do not report the gain over the base model alone; train on more or different cases, or use the baseline.",
    ),
    "TD202": Check(
        "Not clearly above the baselines",
        "The paired interval of the advantage over the best trivial baseline includes zero.",
        "Use more test cases to narrow the interval; the report says how many a given difference requires.",
    ),
    "TD203": Check(
        "Test-set contamination",
        "Test cases occur in the training split exactly, in part, or as near-duplicates.",
        "Read the difference on the clean cases; set data.shared_sources to drop, or use another test set.",
    ),
    "TD204": Check(
        "Invalid answers",
        "Answers could not be parsed and count as wrong, so part of a change may be due to the answer format alone.",
        "See the part answer_format of the gain; score choices, or fix the prompt or the parser.",
    ),
    "TD205": Check(
        "Flips within the noise",
        "Evaluated again at another batch size, the base model alone flips at least half as many cases as "
        "fine-tuning did.",
        "Compute in float32, or evaluate several times; do not interpret individual flips.",
    ),
    "TD206": Check(
        "Environment changed",
        "The two models were evaluated on different machines or with different libraries, so some flips "
        "may be due to rounding.",
        "Run both evaluations on one machine, or run tunediff verify to see whether they reproduce on this one.",
    ),
    "TD207": Check(
        "Tuned model not applied",
        "All log-probabilities of the tuned model equal the base model's: an adapter was not applied, or changes "
        "nothing, or the same model was evaluated twice.",
        "Check that the adapter's weights are not zero and that its tensor names match the base model; for two "
        "files, that they come from two models.",
    ),
    "TD208": Check(
        "Few clusters",
        "The cases form few clusters, such as the questions about one paragraph. Intervals account for the "
        "clusters; exact tests and the smallest detectable difference count cases and are therefore too optimistic.",
        "Rely on the intervals and not the p-values; use a test set with more clusters.",
    ),
    "TD209": Check(
        "Answers cut off",
        "At least 5 % of a model's answers are wrong and end at the token limit, so they may be wrong only because "
        "they are incomplete.",
        "Raise evaluate.max_new_tokens, or stop the answer earlier (prompt.stop).",
    ),
    "TD301": Check(
        "Overfitting",
        "Validation loss rose while training loss kept falling.",
        "Set train.choose_epoch to best, or train for fewer epochs or on more cases.",
    ),
    "TD401": Check(
        "Answers outside the labels",
        "All or most answers in a file are not among its labels, such as LABEL_0 for entailment, and therefore "
        "count as wrong.",
        "Use the same names for answers and labels, unless the model really gives these answers.",
    ),
    "TD402": Check(
        "Predictions contradict their outcomes",
        "In a file from another tool, the log-likelihoods of some cases favour a choice that contradicts the "
        "metric, or an answer equal to the gold label is marked wrong. Outcomes are taken from the file.",
        "Look at the cases that the check lists; you may want another metric (--metric).",
    ),
    "TD403": Check(
        "NaN log-likelihoods",
        "A file from another tool has NaN log-likelihoods; these cases count as invalid.",
        "Evaluate again in higher precision: NaN comes from overflow in half precision or from broken weights.",
    ),
    "TD404": Check(
        "Several answers per case",
        "A file has several answers per case (epochs, trials, repeats, prompts). Each counts as a case; intervals "
        "treat the answers to one case as one cluster.",
        "Rely on the intervals and not the p-values, which treat all answers as independent.",
    ),
    "TD405": Check(
        "Answers without a score",
        "A file from another tool has answers without a score: errors, refusals, invalidated samples. They count as "
        "invalid, and therefore as not right.",
        "Evaluate those cases again, or remove them from both files.",
    ),
}


class Checks(Section):
    """Checks that are known and accepted."""

    acknowledge: dict[str, str] = Field(
        default={},
        description="code of a check (docs/checks.md) and the reason for accepting it, which the report prints",
    )

    def _contradictions(self) -> Iterator[str]:
        for code, reason in self.acknowledge.items():
            if code not in CHECKS:
                near = difflib.get_close_matches(code.upper(), CHECKS, n=1)
                meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(CHECKS)}"
                yield f"checks.acknowledge: found the unknown code {code!r}; {meant}"
            elif not reason.strip():
                yield f"checks.acknowledge.{code}: found an empty reason, expected the reason for accepting this check"
