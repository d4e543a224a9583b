"""Files that commands write after a run, as the report reads them."""

import json

import pytest

from tunediff.report.side_metrics import side_metrics
from tunediff.runtime.errors import TunediffError

SIDE = {
    "controls": {
        **{"n": 4, "set": "test", "measure": "accuracy", "null": []},
        **{"again": dict.fromkeys(("flips", "changed", "repaired", "broken"), 0)},
        **{"trained": dict.fromkeys(("flips", "changed", "repaired", "broken"), 0)},
    },
    "checkpoints": {"sets": {"test": {"n": 4, "epochs": [{"epoch": 1, "delta": 0.1}], "pairs": []}}},
}


@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        ("controls", {"again": {"flips": 0}}, "again.changed: found nothing"),
        ("controls", {"null": [{}]}, "null.1.flips: found nothing"),
        ("controls", {"n": "4"}, "n: found '4'"),
        ("controls", {"strengths": [{"strength": 1}]}, "strengths.1.accuracy: found nothing"),
        ("checkpoints", {"sets": {"test": {"epochs": [], "pairs": []}}}, "sets.test.n: found nothing"),
        ("checkpoints", {"sets": []}, "sets: found []"),
    ],
)
def test_a_file_of_a_command_that_was_edited_by_hand_is_one_line(name, change, line, tmp_path):
    file = tmp_path / f"{name}.json"
    for values, of in ((SIDE[name], "this"), (SIDE[name] | change, "another")):
        file.write_text(json.dumps(values | {"of": of}))
        assert bool(side_metrics(file, "this")) == (of == "this")
    file.write_text(json.dumps(SIDE[name] | change | {"of": "this"}))
    with pytest.raises(TunediffError) as caught:
        side_metrics(file, "this")
    assert str(caught.value) == f"{file}: {line}, expected the output of tunediff {name}"
