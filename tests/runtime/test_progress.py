import sys

from tunediff.runtime import progress as module
from tunediff.runtime.progress import progress


def test_a_log_has_a_line_for_each_state_with_what_is_left(monkeypatch, capsys):
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    with progress(2000, "train", "step", initial=500) as bar:
        bar.set_postfix(loss="0.1234", refresh=False)
        bar.update(700)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("train: 1,200 of 2,000 steps, 00:00 elapsed, 00:00 left, loss=0.1234")
    assert "\r" not in "".join(lines)


def test_what_is_short_or_not_shown_writes_nothing(monkeypatch, capsys):
    with progress(2, "train", "step") as bar:
        bar.update(2)
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    with progress(2, "train", "step", shown=False) as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""


def test_a_line_comes_every_half_minute(monkeypatch, capsys):
    with progress(100, "train", "step") as bar:
        now = bar.start_t
        monkeypatch.setattr(bar, "_time", lambda: now)
        for _ in range(100):
            now += 2
            bar.update()
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert 6 <= len(lines) <= 8
    assert lines[0] == "train: 15 of 100 steps"
    assert lines[-1] == "train: 100 of 100 steps"


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress(4, "train", "step") as bar:
        bar.update(4)
    assert "100%" in capsys.readouterr().err
