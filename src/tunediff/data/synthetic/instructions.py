"""A synthetic data set of instructions, to test whether a model fine-tuned on another task still follows them.

    instruction  Write these words in alphabetical order: lamp, boat, drum
    answer       boat, drum, lamp

As in IFEval (Zhou et al. 2023), a rule and not another model decides whether an instruction was followed. The
instruction determines the split.
"""

from random import Random

from tunediff.data.synthetic.questions import COLOURS, NAMES, THINGS
from tunediff.data.synthetic.writing import SyntheticRow, rows_of, split_of

TAGS = ("capitals", "repeat", "sort", "last", "only", "join")
"""The kinds of instructions."""

WORDS = THINGS + COLOURS


def _instruction(tag: str, rng: Random) -> tuple[str, str]:
    """Return an instruction and its result."""
    words = rng.sample(WORDS, rng.randint(3, 5))
    listed = ", ".join(words)
    if tag == "capitals":
        return f"Write in capital letters: {words[0]} {words[1]}", f"{words[0]} {words[1]}".upper()
    if tag == "repeat":
        times = rng.randint(2, 4)
        return f"Write the word {words[0]} {times} times, with commas between", ", ".join([words[0]] * times)
    if tag == "sort":
        return f"Write these words in alphabetical order: {listed}", ", ".join(sorted(words))
    if tag == "last":
        return f"Write the last of these words and nothing else: {listed}", words[-1]
    if tag == "only":
        name, colour = rng.choice(NAMES), rng.choice(COLOURS)
        thing = rng.choice(THINGS)
        return f"{name} has a {colour} {thing}. Write only the colour of the {thing}", colour
    return f"Write these words with a hyphen between them: {listed}", "-".join(words)


def _draw(split: str, _: int, rng: Random) -> list[SyntheticRow]:
    """Return an instruction that belongs to the split, or none."""
    tag = rng.choice(TAGS)
    instruction, answer = _instruction(tag, rng)
    if split_of(instruction) != split:
        return []
    return [{"instruction": instruction, "answer": answer, "tags": [tag]}]


rows = rows_of("instructions", ("instruction",), _draw)
"""Rows {"instruction": str, "answer": str, "tags": [one of TAGS]}."""
