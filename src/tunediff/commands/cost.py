"""Show the cost of each stage, whether the last run computed it or used the cache, and the cost per repaired case.

    tunediff cost

Reads metrics/cost/, metrics/diff_cases.json and the section `cost` of params.yaml; runs nothing. The last run is the
last `make repro` or `tunediff repro`; a plain `dvc repro` does not record what it ran.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from tunediff.commands.runs import Cost, Outcome, Run, Stage, last_run, read_cost, read_numbers, read_stages
from tunediff.commands.table import aligned
from tunediff.compare.effects.net_repair_cost import figure, per_net_repair, per_net_repair_clause
from tunediff.config.params import Params
from tunediff.runtime.stage import PARAMS
from tunediff.tasks.experiment import read_experiment

DIFF = Path("metrics/diff_cases.json")
FROM_CACHE = "from the cache"
GPU = ("gpu_seconds", "energy_joules")
PER_REPAIR = ("n", "repaired", "broken", "accuracy_delta", "accuracy_delta_low", "accuracy_delta_high")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff cost`, which has none."""


def main(_: argparse.Namespace) -> None:
    """Run `tunediff cost`.

    Raises:
        TunediffError: there is no pipeline here, or a file is invalid.
    """
    print(cost_summary(read_stages()))


def cost_summary(stages: Sequence[Stage]) -> str:
    """Return the table and the sentences to print.

    Raises:
        TunediffError: a file is invalid.
    """
    run, params = last_run(stages), read_experiment(PARAMS).params
    costs = {stage.name: read_cost(stage.cost) for stage in stages}
    states = {name: state(name, cost, run) for name, cost in costs.items()}
    # The cost file of a stage that was not computed belongs to other code, data or parameters.
    costs = {name: None if states[name] == "not made" else cost for name, cost in costs.items()}
    price, currency = params.cost.price_per_hour, params.cost.currency
    lines = [*table(costs, states, price, currency), "", *_summary(costs, states, run, price, currency)]
    return "\n".join([*lines, *_per_repair(costs, params)])


def seconds_of(costs: Mapping[str, Cost | None]) -> float:
    """Return the total seconds of all stages whose cost is known."""
    return float(sum(cost["seconds"] for cost in costs.values() if cost))


def state(name: str, cost: Cost | None, run: Run | None) -> str:
    """Return what the last run did with a stage, or "changed since" if its result was replaced afterwards."""
    outcome = (run.outcomes if run else {}).get(name, Outcome("not known", cost))
    # DVC removes the outputs of a stage before it runs, so a stopped stage has no cost file.
    if cost != (None if outcome.state == "stopped" else outcome.cost):
        return "changed since"
    return FROM_CACHE if outcome.state == "cache" else outcome.state


def saved(costs: Mapping[str, Cost | None], states: Mapping[str, str]) -> dict[str, Cost]:
    """Return the stages that the last run restored from the cache, with their cost when they ran."""
    return {name: cost for name, cost in costs.items() if cost and states[name] == FROM_CACHE}


def table(costs: Mapping[str, Cost | None], states: Mapping[str, str], price: float | None, currency: str) -> list[str]:
    """Return the lines of a table with one row per stage and a total; columns without any figure are omitted."""
    kept = saved(costs, states)
    rows = [["stage", "last run", "seconds", "peak memory", "GPU seconds", "GPU joules", currency, "saved seconds"]]
    for name, cost in costs.items():
        known = cost or {}
        memory = f"{known['peak_memory_bytes'] / 2**20:,.0f} MiB" if cost else "-"
        figures = [_decimals(known.get(key)) for key in GPU]
        money, spared = _money(known.get("seconds"), price), _decimals(kept.get(name, {}).get("seconds"))
        rows.append([name, states[name], _decimals(known.get("seconds")), memory, *figures, money, spared])
    total = seconds_of(costs)
    figures = [_decimals(sum(cost.get(key, 0) for cost in costs.values() if cost) or None) for key in GPU]
    spared = _decimals(seconds_of(kept) if kept else None)
    rows.append(["all", "", _decimals(total), "", *figures, _money(total, price), spared])
    return aligned([one for one in zip(*rows, strict=True) if set(one[1:]) != {"-"}], left=2)


def _summary(
    costs: Mapping[str, Cost | None], states: Mapping[str, str], run: Run | None, price: float | None, currency: str
) -> Iterator[str]:
    """Sentences about the last run."""

    def spent(seconds: float) -> str:
        return f"{seconds:,.1f} s" + (f" ({_money(seconds, price)} {currency})" if price is not None else "")

    if run is None:
        yield "No run of `make repro` or `tunediff repro` is recorded here, so what came from the cache is unknown."
        return
    began = datetime.fromtimestamp(run.began).astimezone()
    if run.ended is not None:
        took = f"ended with exit code {run.exit_code} after {run.ended - run.began:,.1f} s"
    else:
        took = "is still running" if run.alive else "was killed before it ended"
    yield f"The last run began at {began:%Y-%m-%d %H:%M:%S} and {took}."
    kept = saved(costs, states)
    yield f"{len(kept)} of {len(costs)} stages came from the cache and saved {spent(seconds_of(kept))}."
    ran = {name: cost for name, cost in costs.items() if states[name] == "ran"}
    if ran:
        yield f"{len(ran)} ran and took {spent(seconds_of(ran))}."
    for name in [name for name, one in states.items() if one == "stopped"]:
        cost = run.outcomes[name].cost
        yield f"{name} was stopped" + (
            f" after about {spent(cost['seconds'])}." if cost else "; how long it ran is unknown."
        )
    for one, meaning in (
        ("not made", "no result for the current code, data and parameters"),
        ("changed since", "a different result than at the end of that run"),
        ("not known", "no information, so nothing is counted as saved"),
    ):
        if names := [name for name, found in states.items() if found == one]:
            yield f"{one}: {', '.join(names)} ({meaning})."


def _per_repair(costs: Mapping[str, Cost | None], params: Params) -> Iterator[str]:
    """The cost per net repaired case, for training alone and for all stages."""
    if None in costs.values() or not DIFF.exists():
        yield "Cost per net repaired case: unknown until every stage has a result."
        return
    diff = read_numbers(DIFF, PER_REPAIR)
    n, repaired, broken = int(diff["n"]), int(diff["repaired"]), int(diff["broken"])
    delta, low, high = (diff[key] for key in PER_REPAIR[3:])
    yield (
        f"Cost per net repaired case ({repaired:,} repaired - {broken:,} broken = {repaired - broken:+,} of {n:,} "
        f"cases; difference {100 * low:+.1f} to {100 * high:+.1f} points):"
    )
    price, currency = params.cost.price_per_hour, params.cost.currency
    amounts = {"all stages": seconds_of(costs)}
    if params.train is not None:
        trained = seconds_of({name: costs.get(name) for name in ("features", "train")})
        amounts = {"features and train": trained, **amounts}
    for name, seconds in amounts.items():
        for amount, unit in [(seconds, "s"), *([(seconds / 3600 * price, currency)] if price is not None else [])]:
            found = per_net_repair(amount, n, delta, low, high)
            words = per_net_repair_clause(found, params.diff.confidence, unit)
            yield f"  {name}, {figure(amount)} {unit}: {words}"


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _money(seconds: float | None, price: float | None) -> str:
    return "-" if seconds is None or price is None else figure(seconds / 3600 * price)
