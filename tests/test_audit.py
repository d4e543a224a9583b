"""`make audit` fails on a secret and on a vulnerability, and says so where nobody could be asked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT
from tests.project import git

SAFE = {"name": "left-pad", "version": "1.0", "vulns": []}
BAD = {"name": "right-pad", "version": "2.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "own-pad", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def audit(tmp_path):
    """Run the script in a project of its own, with a pip-audit that finds what it is told to."""
    if shutil.which("detect-secrets-hook", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("detect-secrets is not installed (pip install -e '.[dev]')")
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/audit", tmp_path / ".ci/audit")
    (tmp_path / "constraints.txt").write_text("left-pad==1.0\n")
    git(tmp_path, "init", "--quiet")

    def run(found):
        program = tmp_path / "programs/pip-audit"
        program.parent.mkdir(exist_ok=True)
        # The report's path is the last word that the script gives it.
        write = "" if found is None else f"cat >\"${{@: -1}}\" <<'JSON'\n{json.dumps({'dependencies': found})}\nJSON\n"
        program.write_text(f"#!/usr/bin/env bash\n{write}exit {int(found is None)}\n")
        program.chmod(0o755)
        git(tmp_path, "add", "--all")
        path = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        command = [tmp_path / ".ci/audit"]
        done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    return run


def test_a_vulnerability_fails_and_is_named_with_the_version_that_has_none(audit):
    code, out = audit([SAFE, BAD])
    assert code == 1
    assert "audit: 2 of 2 packages checked, 1 vulnerabilities known" in out
    assert "right-pad 2.0: PYSEC-2026-1, fixed in 2.1" in out


@pytest.mark.slow
def test_a_service_that_knows_nothing_or_does_not_answer_is_said_and_fails_nothing(audit):
    code, out = audit([SAFE, UNKNOWN])
    assert (code, "1 of 2 packages checked" in out, "nothing of the other 1;" in out) == (0, True, True)
    code, out = audit(None)
    assert (code, "could not be reached: no package was checked" in out) == (0, True)


def test_a_secret_in_what_git_keeps_fails(audit, tmp_path):
    assert audit([SAFE])[0] == 0
    (tmp_path / "settings.py").write_text(f'aws = "{"AK" + "IA" + "QYLPMN5HFIQR7XYA"}"\n')
    code, out = audit([SAFE])
    assert code != 0
    assert "settings.py" in out
