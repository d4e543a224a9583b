"""Rubbish to feed the program: values of which a part is replaced, left out, nested or doubled, and torn files."""

import copy
import json
import signal
import string
from contextlib import contextmanager

from hypothesis import strategies as st

from tests.report.made import HOSTILE
from tunediff.runtime.errors import TunediffError, printable

DEEP = 300
SPECIAL = ["<s>", "</s>", "[SEP]", "<unk>", "<pad>", "[CLS]", "<|endoftext|>", "<mask>"]
TEXTS = [*HOSTILE, *SPECIAL, "", " ", "\0", "\ud800", "x\udfff", "\r", "\u2028", "²", "٣", "NaN", "1e999", "9" * 400]
TEXTS += ["{premise}", "{__class__}", "%s", "=1+1", "../../x", "/etc/passwd", "~", "a" * 100_000, "\ufeff", "é", "null"]
NUMBERS = [0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf")]


def nested(depth, inner=None):
    """A list in a list in a list."""
    for _ in range(depth):
        inner = [inner]
    return inner


ODD = st.one_of(
    # Copies: a fault that is put into a fault would change this list.
    st.sampled_from([None, True, False, [], {}, [[]], [None], {"": None}, ["a", 1], {"text": []}]).map(copy.deepcopy),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.text(st.characters(), max_size=8),  # lone surrogates too
    st.integers(),
    st.floats(),
    st.builds(nested, st.sampled_from([3, 30, DEEP, 900])),
    st.dictionaries(
        st.sampled_from(["text", "answer_start", "id", "0", "label"]), st.none() | st.integers(), max_size=3
    ),
)


def _places(value, at=()):
    """The ways to every part of a value."""
    yield at
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _places(part, (*at, key))


@st.composite
def broken(draw, whole):
    """A value with up to three faults; now and then without any."""
    value = copy.deepcopy(whole)
    for _ in range(draw(st.integers(0, 3))):
        *way, last = draw(st.sampled_from([place for place in _places(value) if place] or [(None,)]))
        if last is None:
            return draw(ODD)
        holder = value
        for key in way:
            holder = holder[key]
        match draw(st.sampled_from(["replace", "replace", "drop", "rename", "wrap", "double", "move"])):
            case "replace":
                holder[last] = draw(ODD)
            case "drop":
                del holder[last]
            case "rename" if isinstance(holder, dict):
                holder[draw(st.sampled_from([*TEXTS[:24], "labels", "id"]))] = holder.pop(last)
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case "move":
                holder[last] = copy.deepcopy(
                    draw(st.sampled_from([whole, *(whole if isinstance(whole, list) else [])]))
                )
            case _:
                holder[last] = [holder[last]] if draw(st.booleans()) else {"text": holder[last]}
    return value


@st.composite
def torn(draw, data):
    """The bytes of a file, now and then cut, with other bytes put in, or with some turned."""
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "insert", "turn", "repeat"])):
            case "cut":
                data = data[:at]
            case "insert":
                odd = [
                    b"\0",
                    b"\xff\xfe",
                    b"\xed\xa0\x80",
                    b'"',
                    b"\t",
                    b"\n",
                    b"\r",
                    b",",
                    b"{",
                    b"[" * 2000,
                    b"\\ud800",
                ]
                data = data[:at] + draw(st.sampled_from(odd)) + data[at:]
            case "turn" if at < len(data):
                data = data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
            case _:
                data = data + data[at:]
    return data


def json_text(value):
    """A value as JSON, half surrogates and NaN as Python writes them."""
    return json.dumps(value, default=str)


def json_lines(rows):
    return "\n".join(map(json_text, rows if isinstance(rows, list) else [rows])).encode()


def table(rows, separator):
    """Rows as CSV with every field quoted, or as TSV without any quotation mark."""
    rows = [row for row in (rows if isinstance(rows, list) else []) if isinstance(row, dict)]
    names = list(dict.fromkeys(str(name) for row in rows[:2] for name in row))
    lines = [names, *([_cell(row.get(name, "")) for name in names] for row in rows)]
    if separator == ",":
        lines = [['"' + field.replace('"', '""') + '"' for field in line] for line in lines]
    return "\n".join(separator.join(line) for line in lines).encode("utf-8", "surrogatepass")


def _cell(value):
    return value if isinstance(value, str) else json_text(value)


@contextmanager
def within(seconds=60):
    """Ends a block that computes for longer: time of this process alone, so that a busy machine is no fault."""

    def stop(*_):
        raise AssertionError(f"computes for more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def refusal(call, *names):
    """The lines that end a call, as they are printed; none where it ends well. Anything else but these fails.

    Each line is one line, is short, holds no control character, and names one of `names`.
    """
    with within():
        try:
            call()
        except TunediffError as error:
            lines = [printable(line) for line in error.args]
        else:
            return []
    assert lines
    for line in lines:
        assert line.isprintable(), line
        assert len(line) <= 2000, line
        assert any(name in line for name in names), line
        assert not set(line) <= set(string.whitespace)
    return lines
