"""A synthetic data set of captions: pairs of sentences whose relation follows from sets.

    premise     A woman in brown is feeding a dog in the park.
    hypothesis  An animal is being fed by a woman outdoors.
    label       entailment, tags ["voice"]

Premise and hypothesis are descriptions of the same scene and of the same participants, as captions are, and the label
follows from their meanings (`tunediff.data.synthetic.scenes`). The hypothesis is drawn first and the label
independently of it; the premise is then built to fit. So the hypothesis alone says nothing about the label. No training
row is a near-duplicate of a validation or test row.
"""

from functools import cache
from random import Random

from tunediff.data.synthetic.scenes import (
    ALWAYS,
    LABELS,
    Description,
    draw,
    label,
    meanings,
    negations,
    plausible,
    relation_of,
    render,
    split_of,
    with_change,
    with_detail,
)
from tunediff.data.synthetic.writing import SyntheticRow, rows_of

_RARE = {"negation": 0.05, "modifier_dropped": 0.4, "detail_dropped": 0.4}


def _phenomenon(attribute: str, before: str | None, after: str, relation: str) -> str:
    """Return the name of the difference between a premise's value (before) and a hypothesis' (after)."""
    if any(value is not None and value.startswith("not ") for value in (before, after)):
        return "negation"
    which = LABELS.index(relation)
    if attribute in ("noun", "patient"):
        return ("hypernym", "hyponym", "noun_swapped")[which]
    if attribute == "number":
        return ("quantifier", "quantifier", "count_swapped")[which]
    if before is None:
        return "modifier_added" if attribute == "colour" else "unsupported_detail"
    if attribute in ("activity", "place"):
        return attribute
    return ("modifier_dropped", "modifier_added", "colour_swapped")[which]


@cache
def _options(attribute: str, after: str, relation: str) -> tuple[tuple[str, str | None], ...]:
    """Return (phenomenon, premise value) for every change of one attribute that gives the relation."""
    befores: list[str | None] = [value for value in meanings(attribute) if value != after]
    if attribute == "number":  # singular and plural are never contrasted
        befores = [b for b in befores if (b == "one") == (after == "one")]
    elif attribute not in ALWAYS:
        befores.append(None)
    return tuple(
        (_phenomenon(attribute, before, after, relation), before)
        for before in befores
        if relation_of(attribute, before, after) == relation
    )


def _without_detail(premise: Description, hypothesis: Description, rng: Random) -> Description:
    """Return the premise without details that it shares with the hypothesis, each dropped with some chance."""
    return {
        a: v
        for a, v in premise.items()
        if a not in ("colour", "place") or hypothesis.get(a) != v or rng.random() > 0.15
    }


def _premise(hypothesis: Description, wanted: str, rng: Random) -> tuple[Description, str] | None:
    """Return a premise with the wanted relation to the hypothesis, and the phenomenon; None if there is none."""
    negated = negations(hypothesis)
    changes: dict[str, list[tuple[str, str | None]]] = {}
    for attribute in negated or hypothesis:
        for phenomenon, before in _options(attribute, hypothesis[attribute], wanted):
            changes.setdefault(phenomenon, []).append((attribute, before))
    if not negated and wanted == "entailment":
        changes |= {"modifier_dropped": [], "detail_dropped": []}
        if "patient" in hypothesis:
            changes["voice"] = []
    if not negated and wanted == "contradiction" and "patient" in hypothesis and hypothesis["number"] == "one":
        changes["role_swapped"] = []
    if not changes:
        return None
    names = sorted(changes)
    phenomenon = rng.choices(names, [_RARE.get(name, 1.0) if not negated else 1.0 for name in names])[0]
    premise = dict(hypothesis)
    if phenomenon == "role_swapped":
        premise |= {"noun": hypothesis["patient"], "patient": hypothesis["noun"]}
    elif changes[phenomenon]:
        attribute, before = rng.choice(changes[phenomenon])
        premise = with_change(hypothesis, attribute, before, rng)
    # Further words in either sentence are about equally frequent for all labels, so that they do not reveal it.
    if wanted != "entailment":
        premise = _without_detail(premise, hypothesis, rng)
    fuller = with_detail({**hypothesis, **premise}, rng, *((0.35, 0.15) if wanted == "entailment" else (0.5, 0.3)))
    premise = {a: value for a, value in fuller.items() if a in premise or a not in hypothesis}
    dropped = {"modifier_dropped": "colour", "detail_dropped": "place"}.get(phenomenon)
    if dropped and (dropped not in premise or dropped in hypothesis):
        return None
    if not plausible(premise) or label(premise, hypothesis) != wanted:
        return None
    return premise, phenomenon


def _draw(split: str, n_rows: int, rng: Random) -> list[SyntheticRow]:
    """Return a row whose premise belongs to the split, or none if the sampled hypothesis allows none."""
    wanted = LABELS[n_rows % len(LABELS)]
    hypothesis = draw(rng)
    for _ in range(200):
        found = _premise(hypothesis, wanted, rng)
        if found is not None and split_of(found[0]) == split:
            break
    else:
        return []
    premise, phenomenon = found
    passive = "patient" in hypothesis and rng.random() < 0.15
    turned = not passive if phenomenon == "voice" else "patient" in premise and rng.random() < 0.15
    texts = {"premise": render(premise, turned), "hypothesis": render(hypothesis, passive)}
    return [{**texts, "label": wanted, "tags": [phenomenon]}] if texts["premise"] != texts["hypothesis"] else []


rows = rows_of("captions", ("premise", "hypothesis"), _draw, far=True)
"""Rows {"premise": str, "hypothesis": str, "label": one of LABELS, "tags": [the difference, see `_phenomenon`]}."""
