"""The stage prepare, run in a folder as DVC runs it."""

import json
import sys

from tests.imports import ROOT
from tests.program import script
from tests.settings import settle

ARGUMENTS = {
    "--settings": "data/settings/prepare.json",
    "--splits": "data/splits",
    "--test-sets": "data/test_sets",
    "--notes": "data/notes.json",
    "--metrics": "metrics/prepare.json",
    "--cost": "metrics/cost/prepare.json",
}


def prepare(folder, raw="data/raw", hash_seed=None, **changes):
    settle(folder)
    settings = folder / "data/settings/prepare.json"
    values = json.loads(settings.read_text())
    settings.write_text(json.dumps(values | {"data": values["data"] | {"path": str(raw)}}))
    words = [part for pair in (ARGUMENTS | changes).items() for part in pair]
    seeded = {} if hash_seed is None else {"python": sys.executable, "PYTHONHASHSEED": hash_seed}
    return script(folder, ROOT / "stages/prepare.py", "--raw", raw, *words, **seeded)


def file_of(folder, name):
    """The cases of a split or of a test set."""
    return folder / "data" / ("test_sets" if name == "test" else "splits") / f"{name}.jsonl"


def prepared(folder, **changes):
    done = prepare(folder, **changes)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads((folder / "metrics/prepare.json").read_text()), done.stdout
