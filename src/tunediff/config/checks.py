"""The checks of the stage diff_cases by their codes, and which of them are acknowledged."""

import difflib
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import Field

from tunediff.config.section import Section


class Check(NamedTuple):
    """What a code stands for: its name, what it means that the check is raised, and what to do."""

    name: str
    meaning: str
    action: str


# A code never changes its meaning and is never used again: a params.yaml may acknowledge it.
CHECKS = {
    "TD101": Check(
        "Degenerate model",
        "A model gives one answer to nearly every case, or is no better than always giving the most frequent gold "
        "label: its accuracy and F1 need no reading of the case.",
        "Look at the confusion table. Check the prompt, how answers are parsed, the learning rate and the balance of "
        "the training labels.",
    ),
    "TD102": Check(
        "Model at chance",
        "The interval of a model's accuracy does not lie above what guessing scores. A gain over a base at chance "
        "measures learning of the task from nothing.",
        "Ask the base model in a better way (prompt, few-shot examples, another scoring method) before the gain is "
        "told as progress.",
    ),
    "TD103": Check(
        "One gold label",
        "Every test case has the same gold label, so a model that always gives that label is right throughout.",
        "Take a test set with cases of each label.",
    ),
    "TD104": Check(
        "Accuracy repeated",
        "A macro F1, precision, recall or F1 equals the accuracy to six digits, and the counts say another number: a "
        "figure was copied or averaged in another way than its name says.",
        "Run the evaluation stages again; do not use the figures of this file.",
    ),
    "TD105": Check(
        "Perplexity above the vocabulary",
        "The perplexity of the base model is above that of guessing evenly among all tokens.",
        "The model, or the labels that it is measured on, are broken: pretrain again, and check tokenizer and shift.",
    ),
    "TD106": Check(
        "Text metrics near zero",
        "ROUGE or METEOR are near zero beside a token F1 that is not: predictions and references are probably not "
        "aligned.",
        "Compare a few rows of the prediction file with the test split by hand.",
    ),
    "TD107": Check(
        "Rates of classes left out",
        "Balanced accuracy and macro F1 are not compared: the answers are no labels of a known list, or there are too "
        "few of them.",
        "Name the labels where there are some; nothing is wrong where answers are free text.",
    ),
    "TD201": Check(
        "No better than a trivial baseline",
        "A baseline that costs next to nothing is at least as accurate as the tuned model.",
        "Do not report the gain over the base model alone; train on more or other cases, or use the baseline.",
    ),
    "TD202": Check(
        "Not clearly above the baselines",
        "The paired interval of the advantage over the best trivial baseline includes zero.",
        "More test cases narrow the interval: the report says how many a difference takes.",
    ),
    "TD203": Check(
        "Test-set contamination",
        "Test cases stand in the training split in whole, in part or nearly.",
        "Read the difference on the clean cases; set data.shared_sources to drop, or take another test set.",
    ),
    "TD204": Check(
        "Invalid answers",
        "Answers could not be parsed and count as wrong, so part of a change may be no more than the form of the "
        "answer.",
        "Read the part answer_format of the gain; score choices, or mend prompt and parser.",
    ),
    "TD205": Check(
        "Flips within the noise",
        "The base model alone, asked again at another batch size, flips at least half as many cases as fine-tuning "
        "did.",
        "Compute in float32, or ask several times; do not explain single flips.",
    ),
    "TD206": Check(
        "Environment changed",
        "The two models answered on other machines or with other libraries, so some flips may be rounding.",
        "Run both evaluations on one machine, or let tunediff verify say whether they give the same here.",
    ),
    "TD207": Check(
        "Tuned model not applied",
        "Not one log-probability of the tuned model differs from the base model's: an adapter that was not applied, or "
        "that changes nothing, or the same model twice.",
        "Check that the adapter's weights are not zero and that its names fit the base; of two files, that they are of "
        "two models.",
    ),
    "TD208": Check(
        "Few clusters",
        "The cases are about few things, such as the questions of one paragraph. Intervals count these clusters; exact "
        "tests and the smallest detectable difference count cases, and so promise too much.",
        "Read the intervals and not the p-values; take a test set with more clusters.",
    ),
    "TD301": Check(
        "Overfitting",
        "Validation loss rose while training loss went on falling.",
        "Set train.choose_epoch to best, train for fewer epochs, or on more cases.",
    ),
    "TD401": Check(
        "Answers outside of the labels",
        "All or most answers of a file have other names than its labels, such as LABEL_0 for entailment, and so "
        "count as wrong.",
        "Give answers and labels the same names, unless the model truly answers so.",
    ),
    "TD402": Check(
        "Predictions contradict their outcomes",
        "In files of other tools the log-likelihoods of some cases favour another choice than the metric says, or an "
        "answer that is the gold label is called wrong. Outcomes are those of the file.",
        "Look at the cases that the check names; another metric may be the one that was meant (--metric).",
    ),
    "TD403": Check(
        "Log-likelihoods that are no numbers",
        "In files of other tools a log-likelihood is NaN; these cases count as invalid.",
        "Evaluate again with more precision: NaN comes from an overflow in half precision or from broken weights.",
    ),
    "TD404": Check(
        "Several answers to a case",
        "A file has several answers to a case (epochs, trials, repeats, prompts). Each counts as a case; intervals "
        "take those of one case for one piece of evidence.",
        "Read the intervals and not the p-values, which take all answers for independent.",
    ),
    "TD405": Check(
        "Answers without a score",
        "A file of another tool has answers that it did not score: errors, refusals, samples that were invalidated. "
        "They count as invalid, and so as not right.",
        "Evaluate those cases again, or leave them out of both files.",
    ),
}


class Checks(Section):
    """Checks that are known and accepted."""

    acknowledge: dict[str, str] = Field(
        default={}, description="code of a check (docs/checks.md) and the reason why it is accepted; the report says it"
    )

    def _contradictions(self) -> Iterator[str]:
        for code, reason in self.acknowledge.items():
            if code not in CHECKS:
                near = difflib.get_close_matches(code.upper(), CHECKS, n=1)
                meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(CHECKS)}"
                yield f"checks.acknowledge: found the unknown code {code!r}; {meant}"
            elif not reason.strip():
                yield f"checks.acknowledge.{code}: found an empty reason, expected why this check is accepted"
