"""Whether the answers of a file are among its labels: a file that names them otherwise has no right answer at all."""

from collections import Counter
from collections.abc import Callable, Iterable

import pandas as pd

from tunediff.compare.checks import Alarm, vocabulary_alarm
from tunediff.data.cases import RIGHT

# More different labels than that are answers in words, not classes.
MOST = 100
SHOWN = 4


def foreign_answers(column: Callable[[str], Iterable[pd.Series]], name: str) -> Alarm | None:
    """Name a file most of whose answers are none of its labels.

    Args:
        column: the values of a column, some at a time; it is asked for label, prediction and outcome.
        name: of the file.
    """
    labels: dict[str, None] = {}
    cases = 0
    for part in column("label"):
        cases += len(part)
        if len(labels) <= MOST:
            labels |= dict.fromkeys(part.unique())
    classes = len(labels) <= MOST
    answers, foreign = 0, 0
    kinds: Counter[str] = Counter()
    for part in column("prediction"):
        counts = part.value_counts()
        answers += int(counts.sum())
        other = counts[~counts.index.isin(list(labels))] if classes else counts
        foreign += int(other.sum())
        if len(kinds) <= MOST:
            kinds.update({str(answer): int(count) for answer, count in other.head(SHOWN).items()})
    if not classes:
        # Where every answer is in words of its own, a single one that is right shows that they can be.
        right = any((part == RIGHT).any() for part in column("outcome"))
        foreign = 0 if right else answers
    # Labels that hardly repeat are words too: there a wrong answer is none of them.
    most = 2 * foreign > answers and classes and 2 * len(labels) <= cases
    if not answers or not (foreign == answers or most):
        return None
    return vocabulary_alarm(
        list(labels)[:SHOWN], [kind for kind, _ in kinds.most_common(SHOWN)], foreign, answers, name
    )
