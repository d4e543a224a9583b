"""The floors and wings of docs/ARCHITECTURE.md are those of the code."""

import ast
import subprocess
import sys

import pytest

from tests.imports import ROOT, SOURCE, project_imports

PACKAGE = SOURCE / "tunediff"
# As it stands in the document: floor, rooms of both wings, rooms of the model wing, rooms of the evidence wing.
TABLE = """
| 8 | `commands` | | |
| 7 | | `publish` | `report` |
| 6 | | `training` | `diff` |
| 5 | | `predict` | `compare` |
| 4 | `tasks` | `models` | `metrics` |
| 3 | `sources` `splits` `leaks` `scratch` | | `stats` |
| 2 | `params` `cases` `cost` `stage` `ledger` | | |
| 1 | `files` `sections` `squad` | | |
| 0 | `errors` `ranks` | | |
"""
SHARED, MODEL, EVIDENCE = range(3)
# They stand on both wings, as stages do. What they take of the model wing they import inside a function: below, every
# module outside that wing starts without torch.
JOINING = {"commands"}
# For users of `evaluate`, which imports torch; nothing of this project imports it.
FOR_OTHERS = PACKAGE / "metrics/modules.py"
TORCH = {"torch", "transformers", "peft", "bitsandbytes", "accelerate"}

ROOMS = {
    room.strip("`"): (int(floor), wing)
    for floor, *wings in (line.strip("|").split("|") for line in TABLE.split("\n") if line)
    for wing, rooms in enumerate(wings)
    for room in rooms.split()
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name(path):
    return str(path.relative_to(PACKAGE))


def room(path):
    """The room of a module: its package, or the module itself where it has none."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_the_document_shows_the_same_floors():
    assert TABLE.strip() in (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_every_module_has_its_room_and_every_room_its_module():
    assert {room(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_module_imports_only_floors_below_its_own_and_never_the_other_wing(path):
    floor, wing = ROOMS[room(path)]
    for other in {room(imported) for imported in project_imports(path)} - {room(path)}:
        other_floor, other_wing = ROOMS[other]
        assert other_floor < floor, f"{name(path)} on floor {floor} imports {other} on floor {other_floor}"
        joins = room(path) in JOINING
        assert joins or other_wing in (SHARED, wing), f"{name(path)} imports {other} of the other wing"


def test_no_module_imports_a_stage_or_a_test():
    assert [name(path) for path in FILES if imported_packages(path) & {"stages", "tests"}] == []


@pytest.mark.parametrize("path", [path for path in FILES if ROOMS[room(path)][1] != MODEL], ids=name)
def test_no_module_outside_the_model_wing_imports_torch_even_inside_a_function(path):
    assert not imported_packages(path) & TORCH


def test_everything_outside_the_model_wing_starts_without_torch():
    modules = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if ROOMS[room(path)][1] != MODEL and path != FOR_OTHERS
    ]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not TORCH & set(done.stdout.split())


def test_nothing_imports_the_modules_of_evaluate():
    everything = [*FILES, *(ROOT / "stages").glob("*.py")]
    assert [path for path in everything if FOR_OTHERS in project_imports(path)] == []


def imported_packages(path):
    """Top-level names that a file imports anywhere, also inside functions and for type checkers."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {one.split(".")[0] for one in plain} | {
        node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module
    }
