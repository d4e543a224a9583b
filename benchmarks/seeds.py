"""How often the interval of a recipe's mean gain holds the true gain, for 3, 5 and 10 seeds: simulated.

    python benchmarks/seeds.py --out benchmarks/results/seeds.json

A case has a difficulty, which premises share; a seed has a strength of its own and luck in each case. So the true gain
is known in closed form. Held against it: the interval over seeds and cases (`tunediff.stats.seeds`), and in
every 20th draw the multi-bootstrap and an interval over the cases of one seed alone, as one checkpoint gives it. Exit
code 1 where the first one covers less than 93 or more than 97 % of 4,000 draws in any of the settings.
"""

import argparse
import sys
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.stats import norm

from tunediff.compare.effects.transitions import change_interval
from tunediff.runtime.files import write_json
from tunediff.stats.seeds import multi_bootstrap, recipe_interval, two_way

SEEDS = (3, 5, 10)
# Of a seed's strength, on the scale on which the difficulty of cases has the variance 1.
SPREADS = {"seeds alike": 0.0, "seeds differ": 0.1, "seeds differ much": 0.4}
CASES, SHARED, LUCK = 600, 3, 0.5
BASE, TUNED = 0.2, -0.4
LEAST, MOST, OTHERS = 0.93, 0.97, 20


def main() -> None:
    """Simulate all settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 draws; then the limits are 88 and 100 %%")
    parser.add_argument("--out", type=Path, help="file for the result too, JSON")
    args = parser.parse_args()
    draws = 200 if args.quick else 4000
    rows = []
    for (name, spread), seeds, shared in product(SPREADS.items(), SEEDS, (1, SHARED)):
        row = {"setting": name, "seeds": seeds, "cases_a_premise": shared} | covered(spread, seeds, shared, draws)
        rows.append(row)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if args.out:
        write_json(args.out, {"draws": draws, "cases": CASES, "rows": rows})
    least, most = (0.88, 1.0) if args.quick else (LEAST, MOST)
    if bad := [row for row in rows if not least <= row["recipe"] <= most]:
        sys.exit(f"coverage outside of {least:.0%} to {most:.0%} in {len(bad)} of {len(rows)} settings")


def covered(spread: float, seeds: int, shared: int, draws: int) -> dict[str, float]:
    """Share of the draws whose interval holds the true gain, by the kind of interval."""
    generator = np.random.default_rng([seeds, shared, round(1000 * spread)])
    truth = float(norm.cdf(-TUNED / sqrt(1 + spread**2 + LUCK**2)) - norm.cdf(-BASE / sqrt(1 + LUCK**2)))
    premises = np.repeat(np.arange(CASES // shared), shared)
    clusters = None if shared == 1 else premises
    held = {"recipe": 0, "multi_bootstrap": 0, "one_checkpoint": 0}
    for draw in range(draws):
        difficulty = sqrt(0.5) * (generator.normal(size=CASES // shared)[premises] + generator.normal(size=CASES))
        base = difficulty + LUCK * generator.normal(size=CASES) > BASE
        strength, luck = spread * generator.normal(size=(seeds, 1)), LUCK * generator.normal(size=(seeds, CASES))
        tuned = difficulty + strength + luck > TUNED
        change = tuned.astype(np.int64) - base
        found = {"recipe": recipe_interval(two_way(change, clusters), 0.95)}
        if draw % OTHERS == 0:
            found["multi_bootstrap"] = multi_bootstrap(change, 0.95, clusters)
            found["one_checkpoint"] = change_interval(change[0], 0.95, clusters)
        for kind, (low, high) in found.items():
            held[kind] += low <= truth <= high
    return {kind: round(count * (OTHERS if kind != "recipe" else 1) / draws, 4) for kind, count in held.items()}


if __name__ == "__main__":
    main()
