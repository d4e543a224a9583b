"""How a program of this project ends: one line a fault, and a traceback for its own defects alone."""

import signal
import subprocess
import sys
import textwrap

import pytest

from tunediff.runtime.errors import TunediffError, run


def failing(error):
    def main():
        raise error

    return main


def ended(capsys, error):
    with pytest.raises(SystemExit) as caught:
        run(failing(error))
    captured = capsys.readouterr()
    assert captured.out == ""
    return caught.value.code, captured.err


def test_bad_input_is_one_line_and_exit_code_1(capsys):
    assert ended(capsys, TunediffError("data/x.jsonl, row 12: label: found 'a', expected b")) == (
        1,
        "tunediff: data/x.jsonl, row 12: label: found 'a', expected b\n",
    )


def test_several_faults_are_a_line_each(capsys):
    assert ended(capsys, TunediffError("a: missing", "b: missing"))[1] == "tunediff: a: missing\ntunediff: b: missing\n"


def test_a_fault_never_spreads_over_lines(capsys):
    _, text = ended(capsys, TunediffError("model:\n  cannot be loaded:\n\n\tno header\r\n"))
    assert text == "tunediff: model: cannot be loaded: no header\n"


def test_ctrl_c_says_that_the_work_is_not_lost_and_ends_as_shells_expect(capsys):
    code, text = ended(capsys, KeyboardInterrupt())
    assert code == 130
    assert text.startswith("tunediff: stopped;")
    assert text.count("\n") == 1


def test_sigterm_ends_in_a_line_as_shells_expect_and_leaves_nothing_half_written(tmp_path):
    code = """
        import time
        from pathlib import Path
        from tunediff.runtime.errors import run
        from tunediff.runtime.files import replacing

        def main():
            with replacing(Path("models/tuned")) as folder:
                folder.mkdir()
                print("writing", flush=True)
                time.sleep(600)

        run(main)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as stage:
        assert stage.stdout.readline() == "writing\n"
        stage.send_signal(signal.SIGTERM)
        _, error = stage.communicate(timeout=60)
    assert stage.returncode == 143
    assert error == "tunediff: stopped; run the same command to resume from the last checkpoint\n"
    assert list((tmp_path / "models").iterdir()) == []


def test_the_program_around_is_ended_by_sigterm_as_before():
    before = signal.getsignal(signal.SIGTERM)
    run(lambda: None)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(failing(ZeroDivisionError()))


def test_a_program_that_ends_well_ends_well(capsys):
    run(lambda: print("fine"))
    assert capsys.readouterr().out == "fine\n"


def test_as_a_program_no_traceback_is_shown():
    code = "from tunediff.runtime.errors import *\ndef main(): raise TunediffError('x: missing')\nrun(main)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "tunediff: x: missing\n")


def test_a_reader_that_goes_away_is_no_defect():
    code = "from tunediff.runtime.errors import *\ndef main():\n    while True: print('line' * 100)\nrun(main)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout.readline().startswith(b"line")
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait(timeout=60) == 1
