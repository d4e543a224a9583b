"""The code of a stage is what its import statements name, and its hash changes with it."""

import pytest

from tests.imports import ROOT, all_project_imports, templates
from tunediff.runtime.closure import code_files, code_of

SCRIPTS = sorted((ROOT / "stages").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_files_are_the_script_all_that_it_imports_and_their_templates(script):
    modules = all_project_imports(script)
    assert code_files(script) == {script} | modules | templates(modules)


def test_the_hash_is_the_same_in_every_folder_and_another_for_another_script(tmp_path):
    script = ROOT / "stages" / "count_params.py"
    moved = tmp_path / script.name
    moved.write_bytes(script.read_bytes())
    assert code_of(moved) == code_of(script)
    moved.write_bytes(script.read_bytes() + b"# a comment\n")
    assert {name for name, hashed in code_of(moved).items() if hashed != code_of(script)[name]} == {"stages"}
