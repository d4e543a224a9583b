"""Each figure of the write-ups stands where docs/published.md says."""

import json
import re
from pathlib import Path

import pytest

from tests.imports import ROOT
from tunediff.config.params import Params
from tunediff.config.task import RESERVED
from tunediff.report.results import EPOCH_COLUMNS, TABLES

PAGE = (ROOT / "docs/published.md").read_text(encoding="utf-8")
RESULTS = ROOT / "docs/results"
ROWS = [
    tuple(cell.strip() for cell in line.strip("| ").split("|"))
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| what is reported"))
]
MARKDOWN, HTML = (
    (ROOT / "src/tunediff/report/templates" / name).read_text(encoding="utf-8")
    for name in ("report.md.j2", "report.html.j2")
)


def written(path):
    """What the committed runs of the default experiment and of the recipes wrote into a file of metrics."""
    found = set()
    for file in RESULTS.rglob(Path(path).relative_to("metrics").as_posix()):
        found |= set(json.loads(file.read_text(encoding="utf-8")))
    if path.endswith("count_params.json"):  # that of each published system
        for file in (RESULTS / "systems").glob("*.json"):
            found |= set(json.loads(file.read_text(encoding="utf-8")))
    return found


def known(path):
    if path.startswith("metrics/"):
        # A machine with WordNet has synonyms.
        return written(path) | ({"meteor"} if "meteor_without_synonyms" in written(path) else set())
    if path == "params.yaml":
        return set(Params.model_fields)
    if path == "data/train_log.csv":
        return {*TABLES["train_log"], *EPOCH_COLUMNS}
    if path == "data/cases.jsonl":
        return RESERVED
    if path == "data/pretrain_log.csv":
        return {*TABLES["pretrain_log"], "validation_loss"}
    assert path == "data/parameters.csv", path
    return set(TABLES["parameters"]) | {"base", "tuned"}


def test_all_five_systems_have_a_part():
    assert re.findall(r"^## ([A-E]): ", PAGE, flags=re.MULTILINE) == list("ABCDE")
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_write_up_reports_stands_where_the_page_says(row):
    _, path, keys, *section = row
    path = path.strip("`")
    names = re.findall(r"`(\w+)`", keys)
    assert names
    assert [name for name in names if name not in known(path)] == []
    assert f"## {section[0]}\n" in MARKDOWN
    # The page has an explorer of all cases in place of the list.
    assert f">{section[0]}</h2>" in HTML or section[0] == "Cases of each transition"
