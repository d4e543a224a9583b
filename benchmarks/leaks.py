"""How long the search for near-duplicates takes: 10,000 test rows against 550,000 training rows, the size of SNLI.

    python benchmarks/leaks.py [--quick]

SNLI's training split is not beside the project, so rows are made of its texts there: each premise is the first half of
one caption and the second half of another, three hypotheses a premise likewise, so that rows share more than published
ones do. Of the test rows one in a hundred is a training row with one word changed. The search is exact: 40 test rows,
half of them changed ones, are compared with every training row as sets of Python, and both have to find the same.
"""

import random
import re
import resource
import time
from itertools import pairwise

from setting import data_file, device, finish, parse

from tunediff.config.task import TaskSection
from tunediff.data.cases import Case, make_cases
from tunediff.data.leaks import find_leaks
from tunediff.runtime.files import numbered_jsonl

TASK = TaskSection(name="nli", inputs=["premise", "hypothesis"], labels=["e", "n", "c"], source_input="premise",
                   partial_input="hypothesis")  # fmt: skip
REACH = 120.0
CHANGED, CHECKED = 100, 40
Pair = tuple[str, str]


def main() -> None:
    """Time the search, hold it against the slow one, and print the seconds."""
    args = parse(__doc__, quick="500 test rows against 20,000")
    n_test, n_train = (500, 20_000) if args.quick else (10_000, 550_000)
    draw = random.Random(1)
    texts = [row for _, row in numbered_jsonl(data_file("snli/train_18k.jsonl"))]
    premises, hypotheses = ([str(row[name]) for row in texts] for name in ("premise", "hypothesis"))
    train = rows(draw, n_train, premises, hypotheses)
    changed = [
        (one_word_changed(draw, premise), hypothesis)
        for premise, hypothesis in train[:: n_train // (n_test // CHANGED)]
    ]
    test = changed + rows(draw, n_test - len(changed), premises, hypotheses)
    cases, learned = made(test), made(train)
    start = time.perf_counter()
    found = find_leaks(cases, learned, TASK)
    seconds = time.perf_counter() - start
    looked_at = [*range(CHECKED // 2), *range(len(changed), len(changed) + CHECKED // 2)]
    wrong = differing(
        test, train, looked_at, [found.near_duplicates.get(cases[i].case_id, []) for i in looked_at], learned
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{n_test:,} against {n_train:,}: {seconds:.1f} s, {len(found.near_duplicates):,} have a near-duplicate")
    line = {"name": "leaks", "ratio": round(REACH / seconds, 2), "reach": 1.0, "agreement": wrong, "tolerance": 0}
    more = {"seconds": round(seconds, 1), "reach_seconds": REACH, "peak_memory_mib": round(peak)}
    more |= {"test": n_test, "train": n_train, "near_duplicates": len(found.near_duplicates)}
    finish(args, line | {"device": device()} | more, f"{wrong} rows differ" if wrong else None)


def rows(draw: random.Random, n: int, premises: list[str], hypotheses: list[str]) -> list[Pair]:
    """So many pairs, three a premise."""
    made = [spliced(draw, premises) for _ in range(-(-n // 3))]
    return [(made[i // 3], spliced(draw, hypotheses)) for i in range(n)]


def spliced(draw: random.Random, texts: list[str]) -> str:
    """The first half of one text and the second half of another."""
    first, second = draw.choice(texts).split(), draw.choice(texts).split()
    return " ".join(first[: len(first) // 2] + second[len(second) // 2 :])


def one_word_changed(draw: random.Random, text: str) -> str:
    """The text with one of its words replaced."""
    words = text.split()
    words[draw.randrange(len(words))] = "otherwise"
    return " ".join(words)


def made(pairs: list[Pair]) -> list[Case]:
    """The pairs as cases, all with one label."""
    return make_cases(({"premise": one, "hypothesis": two}, "e", ()) for one, two in pairs)


def differing(
    test: list[Pair], train: list[Pair], looked_at: list[int], found: list[list[str]], learned: list[Case]
) -> int:
    """How many of these test rows have other near-duplicates where every pair is compared."""
    others = [(one.case_id, pair, shingles(pair)) for one, pair in zip(learned, train, strict=True)]
    wrong = 0
    for i, ids in zip(looked_at, found, strict=True):
        own = shingles(test[i])
        expected = [
            name for name, pair, other in others if pair != test[i] and 5 * len(own & other) >= 4 * len(own | other)
        ]
        wrong += ids != expected
    return wrong


def shingles(pair: Pair) -> set[tuple[int | str, ...]]:
    """The words of each text and their pairs of neighbours."""
    words = [re.findall(r"\w+", text.casefold()) for text in pair]
    return {(i, *one) for i, each in enumerate(words) for one in (*((word,) for word in each), *pairwise(each))}


if __name__ == "__main__":
    main()
