"""A made-up pair of prediction tables."""

import pandas as pd


def made_up_pair():
    """39 both right, 49 repaired, 2 broken, 10 both wrong."""
    gold = ["yes", "no"] * 50
    other = {"yes": "no", "no": "yes"}
    right_before = [True] * 39 + [False] * 49 + [True] * 2 + [False] * 10
    right_after = [True] * 88 + [False] * 12
    tables = [
        pd.DataFrame(
            {
                "case_id": [f"case {i}" for i in range(100)],
                "label": gold,
                "prediction": [label if right else other[label] for label, right in zip(gold, outcome, strict=True)],
            }
        )
        for outcome in (right_before, right_after)
    ]
    return tables[0], tables[1]
