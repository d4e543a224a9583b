"""Sample train, validation and test from the rows of a source.

    drawn = draw_splits({"train": cases, "test": more_cases}, params.data, "premise")
    drawn["train"].cases
    drawn["train"].arithmetic    # "18,000 rows read - 12 without label - 1,988 left out = 16,000"

Test is sampled first, then validation, then train, so that the test set never depends on the training data. A row is in
one split at most. With `shared_sources: drop` the same holds for source texts: rows of train and validation whose
premise is in a split sampled before are dropped and counted.

`random` and `stratified` rank the rows by a hash of seed and text, and take the first ones in that order. So a split is
the same on any machine, with any version of any library, and for any order of the rows. `all` and `stride` select by
row number and keep the order of the source. With `drop` the premise is hashed, so rows with the same premise are
sampled together; only the last premises of a sample may be split, and lose rows to the next.

If rows have groups (`data.group`, such as the articles of SQuAD), no group is in two splits, and `random` and
`stratified` sample whole groups: in the order of their rank, each group that brings the number of rows, in total and
per label, closer to the requested number without exceeding the limit. Rows without a group are sampled one by one in
the same way.

A stride counts all published rows, and rows without a gold label are dropped afterwards, because systems A and B
selected theirs by row number. Every 550th of SNLI's 550,152 rows gives 1,001 rows, which `limit: 1000` reduces to 1,000
if all have a label; every 100th of 10,000 gives 100 (test: 100 with a label, validation: 99). Dropping before the
stride would select different rows, 99 of each.
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
    """A split, and the numbers of other rows of its source by reason; each row is counted once, by the first reason."""

    cases: list[Case]
    """In the order of the source (all, stride) or of their rank (random, stratified)."""
    premises: int
    """Number of distinct source texts of the cases."""
    groups: int
    """Number of groups of the cases; 0 if rows have none."""
    source: str
    """The source split."""
    read: int
    """Number of rows of the source split."""
    off_stride: int
    """Number of rows skipped by the stride."""
    unlabelled: list[int]
    """Indices of rows without a gold label."""
    empty: list[int]
    """Indices of rows that were dropped because an input is empty."""
    elsewhere: int
    """Number of rows in splits sampled before."""
    shared_premise: list[int]
    """Indices of rows whose source text is in a split sampled before."""
    shared_group: list[int]
    """Indices of rows whose group is in a split sampled before."""
    left_out: int
    """Number of rows that were not selected."""
    rows: list[int]
    """Indices of the rows of the cases, in their order."""
    slices: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """The values of the cases in each column of `data.slices`, if requested."""

    @property
    def arithmetic(self) -> str:
        """The numbers of rows read, dropped by reason, and remaining, as a line that adds up."""
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
    """Sample each split of `data.draws`: the three of section `data`, or the one of a further test set.

    Args:
        sources: the cases of each source split in the order of its rows; None for a row without a gold label.
        data: how to sample.
        source_input: the input with the source text, such as the premise.
        groups: the group of each row of each source split; None: rows have no groups.
        empty: indices of the rows of each source split that are dropped because an input is empty.

    Returns:
        The splits by name, in reverse order of sampling: `train`, `validation`, `test`.

    Raises:
        TunediffError: a split is empty.
    """
    by_source = data.drops_shared
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
            ranked_by = {i: case.inputs[source_input] if by_source else case.case_id for i, case in fresh.items()}
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
        if by_source:
            premises.update(case.inputs[source_input] for case in split.cases)
        if group is not None:
            taken.update(group[i] for i in chosen)
    return {name: drawn[name] for name in reversed(drawn)}


def _choose(
    cases: Mapping[int, Case], how: Draw, n_labelled: int, ranked_by: Mapping[int, str], whole_groups: bool
) -> list[int]:
    """Select rows: all and stride in the order of the source, random and stratified in the order of their rank.

    Args:
        cases: the available cases, by row.
        how: how to sample.
        n_labelled: number of rows that `how.fraction` refers to, including those of other splits.
        ranked_by: the text whose hash ranks each row; rows with the same text are sampled together.
        whole_groups: whether all or none of the rows with the same text are sampled.
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
    """Divide `n` in proportion to `counts` by the largest remainder method."""
    total = max(1, sum(counts.values()))
    shares = {label: count * n // total for label, count in counts.items()}
    missing = n - sum(shares.values())
    by_remainder = sorted(counts, key=lambda label: (-(counts[label] * n % total), label))
    for label in by_remainder[:missing]:
        shares[label] += 1
    return shares
