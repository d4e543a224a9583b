"""Cold runs agree to the byte, and so does one whose input files hold the same rows in another order.

The whole trial, three cold runs, takes some minutes: pytest --long tests/test_determinism.py. The order of the rows is
also tried in tests/stages/test_prepare.py: splits that are the same to the byte make the same of all that follows.
"""

import json
import random

import pytest

from tests.project import SMALL, Project
from tunediff.data.synthetic import captions

pytestmark = pytest.mark.pipeline

SPLITS = ("train", "validation", "test")
# Drawn by what the rows say: `all` and `stride` go by their number.
DRAWN = {"select": "stratified", "fraction": 1.0, "seed": 3}


def raw_rows():
    world = SMALL["data"]["synthetic"]
    return captions.rows(*(world[name] for name in SPLITS), world["seed"])


def files_project(folder, seed=None):
    """The small project with its rows in files; a seed shuffles them. The text of pretraining lies apart from them."""
    data = {"source": "files", "synthetic": None, "files": {name: f"{name}.jsonl" for name in SPLITS}}
    data |= {name: {"source": name} | DRAWN for name in SPLITS}
    project = Project(folder, **(SMALL | {"data": data, "pretrain": {"documents": 200, "path": "recipes"}}))
    write_rows(project, seed)
    return project


def write_rows(project, seed):
    for name, rows in raw_rows().items():
        rows = random.Random(seed).sample(rows, len(rows)) if seed else rows
        (project.folder / "data/raw").mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (project.folder / f"data/raw/{name}.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.long
def test_two_cold_runs_and_a_third_on_shuffled_rows_agree_in_every_output(tmp_path):
    found = []
    for number, (seed, hash_seed) in enumerate([(None, "0"), (None, "7"), (11, "8")]):
        project = files_project(tmp_path / str(number), seed)
        project.run("dvc", "repro", PYTHONHASHSEED=hash_seed)
        found.append(project.outputs())
    differing = [path for path in found[0] for other in found[1:] if found[0][path] != other.get(path)]
    print(f"{len(found[0])} files of {len(found)} cold runs compared, {len(differing)} differ")
    assert len(found[0]) > 40
    assert [list(one) for one in found] == [list(found[0])] * 3
    assert differing == []
    # Another order of the rows is another input file, so the draw is made again; of what follows only the report is
    # written, which shows what the draw cost.
    write_rows(project, seed=12)
    assert project.stages_run("dvc", "repro") == ["prepare", "report"]
