"""The order of docs/ARCHITECTURE.md is that of the code."""

import ast
import subprocess
import sys
from collections import Counter
from functools import cache

from tests.imports import ROOT, SOURCE
from tunediff.runtime.closure import project_imports

PACKAGE = SOURCE / "tunediff"
# A package imports those after it in this list, and none before it.
ORDER = [
    *("commands", "report", "compare", "pretraining", "training", "engines", "tasks", "models", "inputs"),
    *("metrics", "stats", "data", "config", "runtime"),
]
# They need torch. What others take of them they import inside a function, so that everything else starts without it.
MODEL_SIDE = ("training/", "pretraining/", "engines/local/", "models/", "inputs/padding.py")
# Of those, these too start without it.
EXCEPT = {"models/__init__.py", "models/parameters.py", "models/sources.py"}
# They name it for type checkers, or inside the functions that start several processes.
NAMES_TORCH = {
    *("inputs/chat.py", "inputs/joins.py", "inputs/prompts.py", "inputs/tokens.py", "inputs/windows.py"),
    *("runtime/processes.py", "runtime/threads.py"),
}
TORCH = {"torch", "transformers", "peft", "bitsandbytes", "accelerate"}
# A subcommand and a section of params.yaml are called as what they are about.
NAMED_AFTER_OTHERS = {"commands", "config"}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name(path):
    return str(path.relative_to(PACKAGE))


def room(path):
    """The package of a module."""
    return path.relative_to(PACKAGE).parts[0]


def needs_torch(path):
    return name(path).startswith(MODEL_SIDE) and name(path) not in EXCEPT


WITHOUT_TORCH = [path for path in FILES if not needs_torch(path)]


def test_the_document_shows_the_same_order():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    places = [text.index(f"\n{package}/") for package in ORDER]
    assert places == sorted(places)


def test_every_package_has_its_place_and_no_module_stands_beside_them():
    assert {room(path) for path in FILES} == set(ORDER)


def test_a_module_imports_only_packages_after_its_own():
    wrong = []
    for path in FILES:
        others = {room(one) for one in project_imports(path) - {PACKAGE / "__init__.py"}} - {room(path)}
        wrong += [f"{name(path)} imports {one}" for one in others if ORDER.index(one) < ORDER.index(room(path))]
    assert wrong == []


def test_a_file_name_stands_once():
    names = Counter(path.name for path in FILES if room(path) not in NAMED_AFTER_OTHERS)
    assert [one for one, count in names.items() if count > 1 and one != "__init__.py"] == []


def test_no_module_imports_a_stage_or_a_test():
    assert [name(path) for path in FILES if imported_packages(path) & {"stages", "tests"}] == []


def test_only_the_model_side_imports_torch_even_inside_a_function():
    others = [path for path in WITHOUT_TORCH if name(path) not in NAMES_TORCH]
    assert [name(path) for path in others if imported_packages(path) & TORCH] == []


def test_everything_outside_the_model_side_starts_without_torch():
    modules = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in WITHOUT_TORCH
    ]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not TORCH & set(done.stdout.split())


def test_the_training_loop_is_our_own():
    """A trainer of transformers would have to be bent by its private methods, which change from release to release."""
    for path in FILES:
        nodes = nodes_of(path)
        modules = [node for node in nodes if isinstance(node, ast.ImportFrom) and "transformers" in (node.module or "")]
        names = {alias.name for node in modules for alias in node.names}
        wrong = [one for one in names if one.startswith("_") or "Trainer" in one or one == "TrainingArguments"]
        assert wrong == [], name(path)
        bases = {ast.unparse(base) for node in nodes if isinstance(node, ast.ClassDef) for base in node.bases}
        assert [base for base in bases if "Trainer" in base] == [], name(path)


@cache
def nodes_of(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported_packages(path):
    """Top-level names that a file imports anywhere, also inside functions and for type checkers."""
    nodes = nodes_of(path)
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {one.split(".")[0] for one in plain} | {
        node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module
    }
