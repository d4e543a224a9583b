"""The code of a stage is what its import statements name, and its hash changes with it."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.imports import ROOT, SOURCE
from tests.warm import warm_python
from tunediff.runtime.closure import code_files, code_of

SCRIPTS = sorted((ROOT / "stages").glob("*.py"))
LOADED = """
import json, runpy, sys
runpy.run_path(sys.argv[1], run_name="loaded")
files = {module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "tunediff"}
print(json.dumps(sorted(files)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_all_that_python_loads_of_this_project_is_among_the_files(script):
    done = subprocess.run(
        [warm_python(), "-c", LOADED, script], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True
    )
    loaded = {Path(file) for file in json.loads(done.stdout)}
    assert len(loaded) > 3
    missed = loaded - code_files(script)
    # A package whose __init__.py has a docstring alone does nothing.
    assert [path for path in missed if path.name != "__init__.py" or "import" in path.read_text()] == []


def test_a_template_that_a_module_fills_in_is_among_the_files():
    templates = {path for path in code_files(ROOT / "stages" / "report.py") if path.suffix != ".py"}
    assert templates
    assert {path.parent.name for path in templates} == {"templates"}


def test_the_hash_is_the_same_in_every_folder_and_another_for_another_script(tmp_path):
    script = ROOT / "stages" / "count_params.py"
    moved = tmp_path / script.name
    moved.write_bytes(script.read_bytes())
    assert code_of(moved) == code_of(script)
    moved.write_bytes(script.read_bytes() + b"# a comment\n")
    assert {name for name, hashed in code_of(moved).items() if hashed != code_of(script)[name]} == {"stages"}
