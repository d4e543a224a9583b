"""Made-up pairs of classifiers."""

import numpy as np
import pandas as pd

LABELS = ["entailment", "neutral", "contradiction"]


def aligned_pair(n=400, seed=0, shares=(0.6, 0.3, 0.1), before=0.5, after=0.65):
    rng = np.random.default_rng(seed)
    gold = rng.choice(LABELS, n, p=shares)
    frame = {"label": gold}
    for who, accuracy in (("base", before), ("tuned", after)):
        answer = np.where(rng.random(n) < accuracy, gold, rng.choice([*LABELS, "(none)"], n))
        invalid = answer == "(none)"
        frame[f"prediction_{who}"] = pd.Series(answer).mask(invalid)
        frame[f"outcome_{who}"] = np.select([invalid, answer == gold], ["invalid", "right"], "wrong")
    return pd.DataFrame(frame)


def many_labels(n, size):
    rng, labels = np.random.default_rng(7), [f"intent {number:03}" for number in range(size)]
    frame = {"label": rng.choice(labels, n)}
    for who, share in (("base", 0.4), ("tuned", 0.7)):
        frame[f"prediction_{who}"] = np.where(rng.random(n) < share, frame["label"], rng.choice(labels, n))
        frame[f"outcome_{who}"] = np.where(frame[f"prediction_{who}"] == frame["label"], "right", "wrong")
    return pd.DataFrame(frame), labels
