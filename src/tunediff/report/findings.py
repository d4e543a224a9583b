"""The findings of a comparison in sentences, for readers with and without a background in statistics.

    found = findings(results)
    found.headline             # In this checkpoint, fine-tuning raised accuracy from 41.0 % to 88.0 % on 100 ...
    found.sentences[1]         # The difference is +47.0 points (95 % interval +36.1 to +57.2 points; exact McNemar ...

A difference is reported only if the exact test rejects chance and the interval excludes zero. Otherwise the sentences
say that none was shown, and which difference a test set of this size could have detected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from tunediff.compare.effects.net_repair_cost import figure, per_net_repair
from tunediff.compare.raised import Raised
from tunediff.data.cases import INVALID
from tunediff.report.controls_and_epochs import checkpoints_sentence, controls_sentence, perplexity_sentence
from tunediff.report.forgetting import retention_sentences
from tunediff.report.headline import best_baseline, best_name, headline_sentence, is_difference_shown, lost_sentence
from tunediff.report.limits import limit_sentences
from tunediff.report.notation import (
    capitalised,
    counted,
    decimal,
    duration,
    gib,
    interval,
    level,
    p_value,
    percent,
    points,
    points_interval,
    signed,
    whole,
)
from tunediff.report.results import Metrics, Results


class Paragraph(NamedTuple):
    """Sentences about one topic."""

    about: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """The headline, the paragraphs that support it, the limits of the test set, the checks, the parameter counts.

    The paragraphs cover what was measured: what changed, the parts of the change, repaired and broken cases, trivial
    baselines, cost and so on; see `SENTENCES`.
    """

    headline: str
    paragraphs: tuple[Paragraph, ...]
    limits: tuple[str, ...]
    checks: tuple[Raised, ...]
    acknowledged: tuple[Raised, ...]
    parameters: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences of all paragraphs."""
        return tuple(sentence for paragraph in self.paragraphs for sentence in paragraph.sentences)


def findings(results: Results) -> Findings:
    """Return the findings: the headline, and the sentences of `SENTENCES` that apply."""
    paragraphs = (
        Paragraph(about, tuple(filter(None, (sentence(results) for sentence in written))))
        for about, written in SENTENCES.items()
    )
    return Findings(
        headline=headline_sentence(results) + lost_sentence(results),
        paragraphs=tuple(paragraph for paragraph in paragraphs if paragraph.sentences),
        limits=tuple(limit_sentences(results)),
        checks=tuple(check for check in results.checks if check.acknowledged is None),
        acknowledged=tuple(check for check in results.checks if check.acknowledged is not None),
        parameters=_parameters(results.count_params) if results.prepare else "",
    )


def _accuracies(results: Results) -> str:
    base, tuned, models = results.eval_base, results.eval_tuned, results.models
    diff = results.diff_cases
    cases = "single case" if diff["n"] == 1 else counted(int(diff["n"]), "case")
    if not base or not tuned:
        return (
            f"Both models answered the same {cases}. The {models.base} is right on {percent(diff['accuracy_base'])}, "
            f"the {models.tuned} on {percent(diff['accuracy_tuned'])}."
        )
    before, after = (interval(metrics["accuracy_low"], metrics["accuracy_high"]) for metrics in (base, tuned))
    return (
        f"Both models answered the same {cases}. The {models.base} is right on {percent(base['accuracy'])} "
        f"({level(results.confidence)} interval {before}), the {models.tuned} on {percent(tuned['accuracy'])} "
        f"({after})."
    )


def _difference(results: Results) -> str:
    diff, confidence = results.diff_cases, results.confidence
    low, high, p = diff["accuracy_delta_low"], diff["accuracy_delta_high"], diff["mcnemar_p"]
    what = (
        f"The difference is {points(diff['accuracy_delta'])} ({level(confidence)} interval "
        f"{points_interval(low, high)}; exact McNemar test, {p_value(p)})"
    )
    if is_difference_shown(diff, confidence):
        return f"{what}."
    if diff["repaired"] == diff["broken"] == 0:
        same = (
            ""
            if diff["both_wrong_changed"]
            else ", and no answer differs, as when a model is compared with itself (A/A)"
        )
        return f"{what}: no case changed between right and wrong{same}."
    if low <= 0 <= high:
        return (
            f"{what}. The interval includes zero: chance alone could explain it. This does not prove that the "
            "models are equal."
        )
    return f"{what}. The interval excludes zero, but the exact test does not rule out chance: too few cases changed."


def _scores(results: Results) -> str:
    """Scores of the answers other than right and wrong."""
    diff, sentences = results.diff_cases, []
    for stem, name in results.task.scores.items():
        note = results.task.score_notes.get(stem)
        sentences.append(
            f"{capitalised(name)}{f', {note},' if note else ''} went from {percent(diff[f'{stem}_base'])} "
            f"to {percent(diff[f'{stem}_tuned'])}: {points(diff[f'{stem}_delta'])} ({level(results.confidence)} "
            f"interval {points_interval(diff[f'{stem}_delta_low'], diff[f'{stem}_delta_high'])}; sign-flip test, "
            f"{p_value(diff[f'{stem}_p'])})."
        )
    return " ".join(sentences)


def _traits(results: Results) -> str:
    """Traits of the answers, such as their length."""
    diff, found = results.diff_cases, []
    for stem, trait in results.task.traits.items():
        say = percent if trait.is_share else partial(decimal, digits=1)
        before, after = diff[f"{stem}_base"], diff[f"{stem}_tuned"]
        ends = ""
        if f"{stem}_delta_low" in diff:
            low, high = diff[f"{stem}_delta_low"], diff[f"{stem}_delta_high"]
            between = points_interval(low, high) if trait.is_share else f"{signed(low, 1)} to {signed(high, 1)}"
            ends = f" (difference {between})"
        found.append(f"{trait.name} {say(before)} before and {say(after)} after{ends}")
    return f"Answers as written, on average: {'; '.join(found)}." if found else ""


def _kinds(results: Results) -> str:
    """The share of right cases of each kind."""
    diff, task = results.diff_cases, results.task
    if not all(f"{kind}_n" in diff for kind in task.kinds) or not task.kinds:
        return ""
    each = [
        (f"{whole(diff[f'{kind}_n'])}", words, f"from {percent(diff[f'{kind}_exact_base'])} to "
         f"{percent(diff[f'{kind}_exact_tuned'])}")
        for kind, (words, _) in task.kind_words.items()
    ]  # fmt: skip
    (n, words, change), *others = each
    first = f"On the {n} {task.words.cases} {words} {task.words.measure} went {change}"
    return ", ".join([first, *(f"on the {n} {words} {change}" for n, words, change in others)]) + "."


def _gain(results: Results) -> str:
    """The parts of the gain."""
    if len(results.gain) < 2:
        return ""
    task, names, total = results.task, results.task.parts, sum(row["points"] for row in results.gain) / 100
    free = any(row["part"] == "answer_format" for row in results.gain)
    parts = [
        f"{names.get(row['part'], row['part'])} {points(row['points'] / 100)} "
        f"({points_interval(row['low'] / 100, row['high'] / 100)})"
        for row in results.gain
    ]
    under = task.words.measure if task.kinds else "freely generated answers" if free else "a choice among the labels"
    return (
        f"Measured by {under}, the change is {points(total)}. Its parts are {', '.join(parts[:-1])}, and {parts[-1]} "
        f"({level(results.confidence)} intervals in parentheses)."
    )


def _flips(results: Results) -> str:
    diff, models = results.diff_cases, results.models
    repaired, broken = int(diff["repaired"]), int(diff["broken"])
    right = int(diff["both_right"]) + broken
    changed = int(diff["both_wrong_changed"]) if _names_labels(results) else 0
    wrong = int(diff["n"]) - right
    if wrong == 0:
        repairs = f"The {models.base} got no case wrong, so none could be repaired."
    else:
        still = wrong - repaired
        other = f", {whole(changed)} of them with a different answer" if changed else ""
        rest = f"; {whole(still)} stayed wrong{other}" if still else ""
        repairs = (
            f"Of the {counted(wrong, 'case')} that the {models.base} got wrong, {models.change} repaired "
            f"{whole(repaired)} ({percent(repaired / wrong)}){rest}."
        )
    if right == 0:
        return f"{repairs} The {models.base} got no case right, so none could break."
    breaks = f"{whole(broken)} ({percent(broken / right)})" if broken else "none"
    return f"{repairs} Of the {whole(right)} that it got right, {models.change} broke {breaks}."


def _names_labels(results: Results) -> bool:
    """Whether each model gave at least one valid answer, so that wrong answers can differ."""
    invalid = any({flow[at] for flow in results.flows} == {INVALID} for at in (0, 1))
    foreign = any({cell[at] for cell in results.cells} == {None} for at in (1, 2))
    return not (invalid or foreign)


def _preserved(results: Results) -> str:
    """The rate of broken cases, compared with that of two independent models."""
    diff, confidence = results.diff_cases, results.confidence
    broken, n = int(diff["broken"]), int(diff["n"])
    if broken == 0 or "negative_flip_rate" not in diff:
        return ""
    unrelated = n * diff["accuracy_base"] * (1 - diff["accuracy_tuned"])
    ends = f"{level(confidence)} interval {interval(diff['negative_flip_rate_low'], diff['negative_flip_rate_high'])}"
    return (
        f"Broken cases are {percent(diff['negative_flip_rate'])} of all (exact {ends}). Two independent models "
        f"with these accuracies would break {decimal(unrelated, 0)}."
    )


def _baselines(results: Results) -> str:
    diff, best = results.diff_cases, best_baseline(results)
    if best is None:
        return ""
    scores = {
        words: results.baselines[f"{name}_accuracy"]
        for name, words in results.task.baseline_phrases.items()
        if f"{name}_accuracy" in results.baselines
    }
    sentence = ", and ".join(f"{words} scores {percent(score)}" for words, score in scores.items())
    sentence = f"On the same cases, {sentence}. " if scores else ""
    tuned = f"the {results.models.tuned} scores"
    if "gain_over_baseline" not in diff:
        gaps = [points(diff["accuracy_tuned"] - score) for score in scores.values()]
        return f"{sentence}Relative to {'these two' if len(gaps) == 2 else 'it'}, {tuned} {' and '.join(gaps)}."
    ends = points_interval(diff["gain_over_baseline_low"], diff["gain_over_baseline_high"])
    return (
        f"{sentence}Relative to the best of all trivial baselines{best_name(results)}, {tuned} "
        f"{points(diff['gain_over_baseline'])} ({ends})."
    )


def _noise(results: Results) -> str:
    diff = results.diff_cases
    if "noise_floor_flips" not in diff:
        return ""
    return (
        f"Evaluated again at another batch size, the {results.models.base} flipped "
        f"{whole(diff['noise_floor_flips'])} of {counted(int(diff['n']), 'case')} without any training; "
        f"{results.models.change} flipped {whole(diff['repaired'] + diff['broken'])}."
    )


def _draw(results: Results) -> str:
    """Flips due to another random initialization of the untrained head."""
    diff = results.diff_cases
    if "noise_floor_seed_flips" not in diff:
        return ""
    return (
        f"With a different random initialization of its untrained head, the {results.models.base} flipped "
        f"{whole(diff['noise_floor_seed_flips'])}: which cases count as repaired or broken depends on that draw."
    )


def _health(results: Results) -> str:
    """How well the test set distinguishes the two models, and the labels to review."""
    diff, models = results.diff_cases, results.models
    if "agreed_against_label" not in diff:
        return ""
    sentences = []
    if "signal_to_noise" in diff:
        noise = "other cases and batches" if "noise_floor_flips" in diff else "other cases"
        ratio = decimal(diff["signal_to_noise"], 1)
        sentences.append(f"The difference is {ratio} times its standard deviation over {noise}.")
    right, wrong = int(diff["both_right"]), int(diff["both_wrong_same"] + diff["both_wrong_changed"])
    sentences.append(
        f"Both models got {counted(right, 'case')} right and both got {whole(wrong)} wrong; these do not "
        "distinguish the models."
    )
    if agreed := int(diff["agreed_against_label"]):
        sentences.append(
            f"On {whole(agreed)} of them the {models.base} and the {models.tuned} give the same answer, which "
            "contradicts the label: review these labels."
        )
    return " ".join(sentences)


def _calibration(results: Results) -> str:
    found = results.calibration
    if not {"nll_delta", "nll_base", "nll_tuned"} <= set(found):
        return ""
    ends = ""
    if {"nll_delta_low", "nll_delta_high"} <= set(found):
        ends = f" (difference {decimal(found['nll_delta_low'])} to {decimal(found['nll_delta_high'])})"
    error = ""
    if {"ece_base", "ece_tuned"} <= set(found):
        error = (
            f"; its confidence is off by {decimal(100 * found['ece_tuned'], 1)} points on average, the "
            f"{results.models.base}'s by {decimal(100 * found['ece_base'], 1)}"
        )
    return (
        f"The {results.models.tuned}'s negative log-likelihood (NLL) is {decimal(found['nll_tuned'])} nats per case, "
        f"the {results.models.base}'s {decimal(found['nll_base'])}{ends}{error}."
    )


def _cost(results: Results) -> str:
    """Time, memory and money, in total and per net repaired case."""
    if not results.costs:
        return ""
    seconds, gpu_seconds = (
        sum(one.get(key, 0) for one in results.costs.values()) for key in ("seconds", "gpu_seconds")
    )
    peak = max(one["peak_memory_bytes"] for one in results.costs.values())
    sentence = f"All stages together took {duration(seconds)} (hh:mm:ss)"
    if "train" in results.costs and results.train:
        sentence += f", of which training took {duration(results.costs['train']['seconds'])}"
    sentence += f", and used at most {gib(peak)} of memory"
    amounts = [(seconds, "seconds"), *([(gpu_seconds, "GPU seconds")] if gpu_seconds else [])]
    cost = results.price
    if cost.price_per_hour is not None:
        price, money = cost.price_per_hour, seconds / 3600 * cost.price_per_hour
        amounts.append((money, cost.currency))
        sentence += f"; at {figure(price)} {cost.currency} per hour that is {figure(money)} {cost.currency}"
    diff = results.diff_cases
    net = diff["repaired"] - diff["broken"]
    if net <= 0:
        return f"{sentence}; on balance, {'cases were lost' if net else 'no case was gained'}."
    each = [_each(amount, unit, diff) for amount, unit in amounts]
    words = f"{', '.join(each[:-1])} and {each[-1]}" if len(each) > 1 else each[0]
    gained = "the one case" if net == 1 else f"each of the {whole(net)} cases"
    return f"{sentence}. That is {words} for {gained} gained (repaired minus broken)."


def _each(amount: float, unit: str, diff: Metrics) -> str:
    """An amount per net repaired case, with the interval implied by that of the difference."""
    ends = (diff["accuracy_delta_low"], diff["accuracy_delta_high"])
    found = per_net_repair(amount, int(diff["n"]), diff["accuracy_delta"], *ends)
    assert found is not None
    assert found.value is not None
    between = f"{figure(found.low)} or more" if found.high is None else f"{figure(found.low)} to {figure(found.high)}"
    return f"{figure(found.value)} {unit} ({between})"


def _parameters(count: Metrics) -> str:
    if not count:
        return "Parameters were not counted, because a server does not report them."
    if "trainable" not in count:
        return "The tuned model was not trained here: which of its parameters were trained is unknown."
    share, stored_share = (percent(count[key] / 100, 3) for key in ("trainable_percent", "packed_trainable_percent"))
    total, stored = int(count["tuned_total"]), int(count["packed_total"])
    trained = f"Fine-tuning trains {whole(count['trainable'])} of {whole(total)} parameters, {share}."
    if total == stored:
        return f"{trained} No layer is packed: memory holds one element per parameter."
    return (
        f"{trained} Memory holds {whole(stored)} elements, because a 4-bit layer stores two parameters per byte. "
        f"Tools that count elements would report {stored_share}, which describes the storage and not the model."
    )


# The paragraphs in order; a function returns an empty string if its sentence does not apply.
SENTENCES: dict[str, tuple[Callable[[Results], str], ...]] = {
    "What changed": (_accuracies, _difference, _scores, _kinds),
    "Properties of the answers": (_traits,),
    "Parts of the change": (_gain,),
    "Repaired and broken cases": (_flips, _preserved, _noise, _draw),
    "What else changed": (retention_sentences, lambda results: perplexity_sentence(results.perplexity)),
    "Controls": (lambda results: controls_sentence(results.controls),),
    "During training": (lambda results: checkpoints_sentence(results.checkpoints),),
    "Sensitivity of the test set": (_health,),
    "Trivial baselines": (_baselines,),
    "Calibration": (_calibration,),
    "Cost of the run": (_cost,),
}


def parity_sentence(train: Metrics) -> str:
    """Return a sentence about whether training and evaluation render chats equally; empty if not measured."""
    if not train.get("parity_cases"):
        return ""
    equal, cases, spelled = (int(train[f"parity_{key}"]) for key in ("equal", "cases", "spelled"))
    sentence = (
        f"In {equal:,} of {counted(cases, 'case')} for training and validation, the training sequence is, token for "
        "token, the evaluation prompt followed by the answer and the end of the turn, as the model's own chat "
        "template renders them."
    )
    if spelled:
        sentence += f" In {counted(spelled, 'case')}, a text spells a special token; it is kept as text."
    return sentence
