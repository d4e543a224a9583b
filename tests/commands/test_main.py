"""The program's own options, and what it says where it is asked for nothing."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.program import tunediff


def test_the_version_is_that_of_the_package(tmp_path):
    assert tunediff(tmp_path, "--version") == (0, f"tunediff {version('tunediff')}\n", "")


def test_without_arguments_it_says_the_ways_in(tmp_path):
    code, out, error = tunediff(tmp_path)
    assert (code, error) == (0, "")
    assert "make repro" in out
    assert "tunediff diff before.jsonl after.jsonl --out findings" in out


def test_the_help_of_the_program_and_of_every_command_can_be_had(tmp_path):
    from tunediff.commands.main import COMMANDS

    _, out, _ = tunediff(tmp_path, "--help")
    for command in COMMANDS:
        assert f"    {command}" in out
        code, said, error = tunediff(tmp_path, command, "--help")
        assert (code, error) == (0, "")
        assert f"usage: tunediff {command}" in said


def test_a_command_that_there_is_not_is_named_with_those_that_there_are(tmp_path):
    code, _, error = tunediff(tmp_path, "dif")
    assert code == 2
    assert "'dif'" in error
    assert "'diff'" in error


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["di"], ["diff"]),
        (["diff", "--max"], ["--max-negative-flip-rate"]),
        (["diff", "bef"], ["before.jsonl"]),
        (["score", "--task", "squad_"], ["squad_v2"]),
    ],
)
def test_bash_completes_commands_options_values_and_files(words, found, tmp_path):
    _, script, _ = tunediff(tmp_path, "--print-completion", "bash")
    (tmp_path / "before.jsonl").touch()
    typed = " ".join(["tunediff", *words])
    code = f'{script}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}; COMP_LINE="{typed}"; COMP_POINT={len(typed)}\n'
    code += f'_shtab_tunediff tunediff {words[-1]} ""; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == found, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="the Makefile is for systems with a POSIX shell")
def test_make_help_names_every_command_of_the_makefile(tmp_path):
    from tests.imports import ROOT

    # `make test` runs these tests, and a make within a make also prints which folder it enters.
    command = ["make", "--no-print-directory", "help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[1] for line in printed.splitlines()}
    [phony] = [
        line for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines() if line.startswith(".PHONY")
    ]
    assert listed == set(phony.split()[1:])
