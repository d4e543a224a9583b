"""What several runs have right of the same cases."""

import numpy as np
import pandas as pd

from tunediff.compare.board import Answered


def answers(flags, **columns):
    outcomes = np.where(flags, "right", "wrong")
    frame = pd.DataFrame({"case_id": [f"c{at}" for at in range(len(flags))], "label": "yes", "outcome": outcomes})
    return frame.assign(prediction="yes", prompt_hash=None, scorer=None, **columns)


def right(repaired, broken, n=100, first=50):
    """A run that repairs and breaks so many of a base that has the first cases right."""
    flags = np.arange(n) < first
    flags[first : first + repaired] = True
    flags[:broken] = False
    return flags


BASE = Answered("base", answers(right(0, 0)))


def runs(**counts):
    return [BASE, *(Answered(name, answers(right(*count))) for name, count in counts.items())]


def seed(number, flags, rate=0.1, base=None):
    parameters = {"train.seed": number, "train.learning_rate": rate}
    frame = answers(right(0, 0) if base is None else base)
    return Answered(f"seed{number}-{rate}", answers(flags), parameters=parameters, base=frame)


RUNS = [seed(2, right(20, 2)), seed(0, right(10, 2)), seed(1, right(30, 3)), seed(0, right(5, 0), rate=0.2)]
