"""Sentences about flips without training, and about the gain during training.

    controls_sentence(results.controls)        # "Evaluated again, the base model gives zero flips on 120 cases: ..."
    epoch_sentences(found)                     # pairs of epochs that differ

The figures come from `tunediff controls` and `tunediff checkpoints`.
"""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from tunediff.report.notation import counted, decimal, p_value, percent, points, signed, whole
from tunediff.runtime.files import visible

Record = Mapping[str, Any]


def controls_sentence(found: Record) -> str:
    """Return sentences about the flips of the controls; empty if not measured."""
    return " ".join(_controls(found)) if found else ""


def _controls(found: Record) -> Iterator[str]:
    n, again, trained, null = int(found["n"]), found["again"], found["trained"], found["null"]
    on = counted(n, "case") if found["set"] == "test" else f"{counted(n, 'case')} of {found['set']}"
    if again["flips"] == 0:
        other = "" if again["changed"] == 0 else f", though {counted(again['changed'], 'wrong answer')} changed"
        yield f"Evaluated again, the base model gives zero flips on {on}{other}: an A/A comparison finds nothing."
    else:
        yield (
            f"Evaluated again, the base model flips {whole(again['flips'])} of {on} (A/A): that many flips may be "
            "noise."
        )
    if null:
        flips = [one["flips"] for one in null]
        draws = (
            f"A null adapter, random with the trained adapter's norm in each layer, flips {whole(flips[0])}"
            if len(flips) == 1
            else "Null adapters, random with the trained adapter's norm in each layer, flip "
            f"{fmean(flips):,.1f} on average ({whole(min(flips))} to {whole(max(flips))} in "
            f"{whole(len(flips))} draws)"
        )
        yield (
            f"{draws}; training flipped {whole(trained['flips'])} ({whole(trained['repaired'])} repaired, "
            f"{whole(trained['broken'])} broken)."
        )
        if trained["flips"] <= max(flips):
            yield "A random perturbation of this size flips as many: the number of flips is no evidence of learning."
    if strengths := found.get("strengths"):
        best = max(strengths, key=lambda one: one["accuracy"])
        yield (
            f"Of {whole(len(strengths))} strengths of the trained change, from {strengths[0]['strength']:g} to "
            f"{strengths[-1]['strength']:g} times, {found['measure']} is highest at {best['strength']:g} times "
            f"({percent(best['accuracy'])}), selected on these cases."
        )


def checkpoints_sentence(found: Record) -> str:
    """Return sentences about the change after each epoch on every test set; empty if not measured."""
    return " ".join(sentence for name, one in found["sets"].items() for sentence in _set(name, one)) if found else ""


def _set(name: str, found: Record) -> Iterator[str]:
    each = ", ".join(f"{points(one['delta'])} after epoch {one['epoch']}" for one in found["epochs"])
    yield f"On {name} ({counted(int(found['n']), 'case')}) the change from the base is {each}."
    yield from epoch_sentences(found)


def perplexity_sentence(found: Record) -> str:
    """Return a sentence about the perplexity of a text before and after; empty if not measured."""
    if not found:
        return ""
    ends = ""
    if "nll_delta_low" in found:
        ends = f", {signed(found['nll_delta_low'], 3)} to {signed(found['nll_delta_high'], 3)}"
    return (
        f"On {counted(int(found['passages']), 'passage')} of {visible(str(found['text']))} ({whole(found['tokens'])} "
        f"tokens) perplexity went from {decimal(found['perplexity_base'], 1)} to "
        f"{decimal(found['perplexity_tuned'], 1)} ({signed(found['nll_delta'], 3)} nats per token{ends})."
    )


def epoch_sentences(found: Record) -> Iterator[str]:
    """Yield sentences about the pairs of epochs that differ significantly on a test set."""
    separated = [pair for pair in found["pairs"] if pair["separated"]]
    for pair in separated:
        other = pair["a"] if pair["better"] == pair["b"] else pair["b"]
        yield f"Epoch {pair['better']} is better than epoch {other} (adjusted {p_value(pair['p_adjusted'])})."
    if found["pairs"] and not separated:
        yield "No two epochs differ significantly."
