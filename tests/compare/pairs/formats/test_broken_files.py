"""Files of other tools with parts replaced, left out, nested or doubled: read, or refused in a line."""

import copy

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.foreign_logs import (
    SPEC,
    choice,
    failed,
    instance,
    log,
    match,
    old,
    record,
    result,
    results,
    sample,
    sampled,
    written,
)
from tests.rubbish import broken
from tunediff.compare.pairs.file_format import ReadOptions
from tunediff.compare.pairs.formats import eval_events, helm, inspect_log, lighteval, promptfoo
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime.errors import TunediffError

TWO_SCORES = {"two": {"value": {"a": 1, "b": 0.5}, "answer": "x"}}
MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "q"}]}]
WHOLE = {
    "inspect_ai": (inspect_log, [log(sample(1), failed(2), sample(3, scores=TWO_SCORES, input=MESSAGES))]),
    "lighteval": (
        lighteval,
        [
            choice(0, 0, [-1.0, -2.0], {"acc": 1}),
            choice(1, 1, [-3.0, -2.0], {"acc": 1}),
            written(2, "4", ["4"], {"acc": 1}),
        ],
    ),
    "lighteval before 0.8": (lighteval, [old(n, 0, [-1.0, -2.0], {"acc": 1}, printed=True) for n in range(2)]),
    "promptfoo": (promptfoo, [results(result(0, "a", True), result(1, "b", False, prompt=1))]),
    "evals": (
        eval_events,
        record(sampled(0), match(0, True), (1, "metrics", {"score": 1.0}), (2, "error", {"type": "E"})),
    ),
    "helm": (helm, [instance("a", exact_match=1.0), instance("b", 1, {"name": "typos"}, exact_match=0.0)]),
}


def refused(read):
    """The lines that a file is refused with, and what was read where it is not."""
    try:
        return (), read()
    except TunediffError as error:
        return error.args, None


ASKED = st.builds(
    ReadOptions,
    st.builds(Fields, cluster=st.sampled_from([None, "topic", "x"])),
    metric=st.sampled_from([None, "match", "acc", "score", "exact_match"]),
    part=st.sampled_from([None, "base"]),
    threshold=st.sampled_from([None, 0.5]),
)


@pytest.mark.parametrize("kind", WHOLE)
@settings(suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_broken_file_is_read_or_refused(kind, data):
    module, rows = WHOLE[kind]
    made, options = data.draw(broken(copy.deepcopy(rows))), data.draw(ASKED)
    # What no reader of files hands on.
    made = [row for row in made if isinstance(row, dict)] if isinstance(made, list) else []
    if not made or not module.FORMAT.recognises(made[0]):
        return
    lines, found = refused(lambda: module.FORMAT.read(enumerate(made, start=1), "file", options))
    assert all(line.startswith("file") and "\n" not in line for line in lines)
    if not lines:
        assert set(found.frame["outcome"]) <= {"right", "wrong", "invalid"}
        pa.Table.from_pandas(found.frame)


def test_the_first_line_of_a_record_is_known():
    assert eval_events.is_events(SPEC)
