"""Check that the answers of a file are among its labels; if the names differ, no answer can be right."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from tunediff.data.cases import RIGHT
from tunediff.runtime.files import shown

# More distinct labels are free text, not classes.
MOST = 100
SHOWN = 4


def foreign_answers(column: Callable[[str], Iterable[pd.Series]], name: str) -> str | None:
    """Return the sentence of check TD401 if most answers are not among the labels, else None.

    Args:
        column: function that yields the values of the column label, prediction or outcome, in chunks.
        name: name of the file.
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
        # If all answers are distinct, a single right one shows that the names match.
        right = any((part == RIGHT).any() for part in column("outcome"))
        foreign = 0 if right else answers
    # Labels that hardly repeat are free text, so a wrong answer need not be among them.
    most = 2 * foreign > answers and classes and 2 * len(labels) <= cases
    if not answers or not (foreign == answers or most):
        return None
    return _sentence(list(labels)[:SHOWN], [kind for kind, _ in kinds.most_common(SHOWN)], foreign, answers, name)


def _sentence(labels: Sequence[str], answers: Sequence[str], foreign: int, n: int, name: str) -> str:
    """The sentence, with the first labels and the most frequent answers; `foreign` of n answers are not labels."""
    some, other = (", ".join(shown(one, 40) for one in sorted(names)) for names in (labels, answers))
    counted = f"{n:,} answer{'s' * (n != 1)}"
    how = "none is" if foreign == n else f"only {n - foreign:,} {'is' if n - foreign == 1 else 'are'}"
    return (
        f"Of the {counted} of {name}, {how} among its labels. Labels: {some}; answers: {other}. Unless the model "
        "really gives these answers, use the same names for both."
    )
