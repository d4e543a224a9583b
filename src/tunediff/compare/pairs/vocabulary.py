"""Whether the answers of a file are among its labels: a file with other names has no right answer at all."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from tunediff.data.cases import RIGHT
from tunediff.runtime.files import shown

# More different labels than that are answers in words, not classes.
MOST = 100
SHOWN = 4


def foreign_answers(column: Callable[[str], Iterable[pd.Series]], name: str) -> str | None:
    """What the check TD401 says of a file most of whose answers are none of its labels; None of any other.

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
    return _sentence(list(labels)[:SHOWN], [kind for kind, _ in kinds.most_common(SHOWN)], foreign, answers, name)


def _sentence(labels: Sequence[str], answers: Sequence[str], foreign: int, n: int, name: str) -> str:
    """Say it with the first labels and the most frequent answers; `foreign` of the n are none of the labels."""
    some, other = (", ".join(shown(one, 40) for one in sorted(names)) for names in (labels, answers))
    counted = f"{n:,} answer{'s' * (n != 1)}"
    how = "none is" if foreign == n else f"only {n - foreign:,} {'is' if n - foreign == 1 else 'are'}"
    return (
        f"Of the {counted} of {name}, {how} among its labels. Labels: {some}; answers: {other}. Unless the model "
        "really gives these answers, use the same names for both."
    )
