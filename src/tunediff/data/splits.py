"""Draw train, validation and test from the rows of a source.

    drawn = draw_splits({"train": cases, "test": more_cases}, params.data, "premise")
    drawn["train"].cases
    drawn["train"].arithmetic    # "18,000 rows read - 12 without label - 1,988 left out = 16,000"

Test is drawn first, then validation, then train, so that what the model is measured on never depends on what it learns
from. A row goes into one split at most. With `shared_sources: drop` neither does a premise: rows of train and
validation whose source text stands in a split that was drawn before are dropped and counted.

`random` and `stratified` rank the rows by a hash of seed and text, take the first ones and write them in that order. So
a split is the same on any machine, in any version of any library, and for any order of the rows; `all` and `stride` go
by the number of a row and keep the order of the source. With `drop` the premise is what is hashed: rows of one premise
are drawn together, and at most the last premises of a draw are cut in two and lose rows to the next.

Where rows have groups (`data.group`, such as the articles of SQuAD), no group stands in two splits, and `random` and
`stratified` draw whole groups: in the order of their rank, each that brings the number of rows, of all and of each
label, nearer to what was asked for and does not go beyond the limit. Rows without a group are drawn by the same rule,
one by one.

A stride counts the rows as published, and rows without a gold label are dropped after it: that is how systems A and B
chose theirs by row number. Every 550th of SNLI's 550,152 rows are 1,001, which `limit: 1000` makes 1,000 where none is
without a label; every 100th of 10,000 are 100 (test: 100 with a label, validation: 99). Dropping before the stride
would shift it and choose other rows, 99 of each.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from tunediff.config.data import Draw, Origin
from tunediff.data.cases import Case
from tunediff.runtime.errors import TunediffError


@dataclass(frozen=True)
class Drawn:
    """A split, and what became of the other rows of its source; each row is counted once, under the first that fits."""

    cases: list[Case]
    """In the order of the source (all, stride) or of their rank (random, stratified)."""
    premises: int
    """Different source texts of the cases."""
    groups: int
    """Groups of the cases; 0 where rows have none."""
    source: str
    """The source split."""
    read: int
    """Rows of the source split, drawn or not."""
    off_stride: int
    """Rows between two steps of the stride."""
    unlabelled: list[int]
    """Rows (from 0) without a gold label."""
    empty: list[int]
    """Rows (from 0) that were dropped because an input is empty."""
    elsewhere: int
    """Rows that a split drawn before took."""
    shared_premise: list[int]
    """Rows (from 0) whose source text stands in a split drawn before."""
    shared_group: list[int]
    """Rows (from 0) whose group stands in a split drawn before."""
    left_out: int
    """Rows that the draw or its limit left."""
    rows: list[int]
    """Rows (from 0) that the cases were made of, in their order."""
    slices: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """For each column of `data.slices` its value of each case, where it was asked for."""

    @property
    def arithmetic(self) -> str:
        """How many rows were read, what they lost and what remains, as a line that adds up."""
        losses = {
            "off the stride": self.off_stride,
            "without label": len(self.unlabelled),
            "with an empty input": len(self.empty),
            "in another split": self.elsewhere,
            "of a shared premise": len(self.shared_premise),
            "of a shared group": len(self.shared_group),
            "left out": self.left_out,
        }
        lost = "".join(f" - {n:,} {reason}" for reason, n in losses.items() if n)
        return f"{self.read:,} rows read{lost} = {len(self.cases):,}"


def draw_splits(
    sources: Mapping[str, Sequence[Case | None]],
    data: Origin,
    source_input: str,
    groups: Mapping[str, Sequence[str]] | None = None,
    empty: Mapping[str, Set[int]] | None = None,
) -> dict[str, Drawn]:
    """Draw each split of `data.draws`: the three of section `data`, or the one of a further test set.

    Args:
        sources: the cases of each source split in the order of its rows; None for a row without a gold label.
        data: how to draw.
        source_input: the input that cases may share, such as the premise.
        groups: the group of each row of each source split; None: rows have no groups.
        empty: the rows of each source split that are dropped because an input is empty, which have no case.

    Returns:
        The splits by name, the one that was drawn last first: `train`, `validation`, `test`.

    Raises:
        TunediffError: no row is left for a split.
    """
    whole = data.drops_shared
    used: dict[str, set[int]] = defaultdict(set)
    premises: set[str] = set()
    taken: set[str] = set()
    drawn = {}
    for name, how in data.draws.items():
        cases = sources[how.source]
        at = range(0, len(cases), how.every or 1)
        labelled = {i: case for i in at if (case := cases[i]) is not None}
        free = {i: case for i, case in labelled.items() if i not in used[how.source]}
        unshared = {i: case for i, case in free.items() if case.inputs[source_input] not in premises}
        group = groups[how.source] if groups else None
        dropped = empty[how.source] if empty else frozenset[int]()
        fresh = {i: case for i, case in unshared.items() if group is None or group[i] not in taken}
        if group is None:
            ranked_by = {i: case.inputs[source_input] if whole else case.case_id for i, case in fresh.items()}
        else:
            ranked_by = {i: group[i] for i in fresh}
        chosen = _choose(fresh, how, len(labelled), ranked_by, whole_groups=group is not None)
        split = Drawn(
            cases=[fresh[i] for i in chosen],
            premises=len({fresh[i].inputs[source_input] for i in chosen}),
            groups=len({group[i] for i in chosen}) if group else 0,
            source=how.source,
            read=len(cases),
            off_stride=len(cases) - len(at),
            unlabelled=[i for i in at if cases[i] is None and i not in dropped],
            empty=[i for i in at if i in dropped],
            elsewhere=len(labelled) - len(free),
            shared_premise=[i for i in free if i not in unshared],
            shared_group=[i for i in unshared if i not in fresh],
            left_out=len(fresh) - len(chosen),
            rows=chosen,
        )
        if not chosen:
            raise TunediffError(
                f"data.{name}: no row is left of source split {how.source}: {split.arithmetic}; expected at least one"
            )
        drawn[name] = split
        used[how.source].update(chosen)
        if whole:
            premises.update(case.inputs[source_input] for case in split.cases)
        if group is not None:
            taken.update(group[i] for i in chosen)
    return {name: drawn[name] for name in reversed(drawn)}


def _choose(
    cases: Mapping[int, Case], how: Draw, n_labelled: int, ranked_by: Mapping[int, str], whole_groups: bool
) -> list[int]:
    """The rows that are drawn: all and stride in the order of the source, random and stratified in that of their rank.

    Args:
        cases: the cases to draw from, by row.
        how: the way to draw.
        n_labelled: how many rows `how.fraction` is a share of, those included that other splits have taken.
        ranked_by: the text by whose hash each row is ranked; rows of one text are drawn together.
        whole_groups: whether rows of one text are drawn all or none.
    """
    n = most = len(cases) if how.limit is None else min(len(cases), how.limit)
    if how.fraction is not None:
        n = min(n, round(how.fraction * n_labelled))
    if how.select in ("all", "stride"):
        return list(cases)[:n]
    units: dict[str | int, list[int]] = defaultdict(list)
    for i in sorted(cases, key=lambda i: (_rank(ranked_by[i], how.seed), cases[i].case_id)):
        units[ranked_by[i] if whole_groups else i].append(i)
    label = {i: case.label if how.select == "stratified" else "" for i, case in cases.items()}
    missing = _shares(Counter(label.values()), n)
    chosen: list[int] = []
    for rows in units.values():
        counts = Counter(label[i] for i in rows)
        nearer = abs(n - len(chosen)) - abs(n - len(chosen) - len(rows))
        nearer += sum(abs(missing[one]) - abs(missing[one] - count) for one, count in counts.items())
        if nearer > 0 and len(chosen) + len(rows) <= most:
            chosen += rows
            for one, count in counts.items():
                missing[one] -= count
    return chosen


def _rank(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def _shares(counts: Mapping[str, int], n: int) -> dict[str, int]:
    """`n` divided in proportion to `counts` by largest remainder, so that each share is exact to within one."""
    total = max(1, sum(counts.values()))
    shares = {label: count * n // total for label, count in counts.items()}
    missing = n - sum(shares.values())
    by_remainder = sorted(counts, key=lambda label: (-(counts[label] * n % total), label))
    for label in by_remainder[:missing]:
        shares[label] += 1
    return shares
