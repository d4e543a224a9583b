"""Every causal layout of transformers: scored, written, learned from, saved and merged as by hand, or refused.

python -m pytest tests/test_every_layout.py --long -s         # all of them, into benchmarks/results/layouts.json
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque

import pytest

from tests.imports import ROOT
from tests.layout_trials import trial
from tests.tiny_layouts import LAYOUTS

RESULTS = ROOT / "benchmarks" / "results" / "layouts.json"
# Layouts that one process takes, and the seconds that one of them may take.
AT_ONCE, LIMIT = 24, 300
STEPS = ("scores", "texts", "loss", "lora", "qlora")


def outcomes(layouts):
    """What `trial` says of each layout, in their order; where its process dies or hangs, that is what comes of it."""
    waiting = deque(layouts)
    while waiting:
        group = [waiting.popleft() for _ in range(min(AT_ONCE, len(waiting)))]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.layout_trials", *group],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        lines = queue.Queue()
        reader = threading.Thread(target=lambda lines=lines, out=process.stdout: [*map(lines.put, out), lines.put("")])
        reader.start()
        while group:
            try:
                line = lines.get(timeout=LIMIT)
            except queue.Empty:
                line = None
            if line:
                yield json.loads(line)
                del group[0]
                continue
            process.kill()
            ended = f"hangs: no end after {LIMIT} s" if line is None else f"ends its process with {process.wait()}"
            yield {"layout": group.pop(0), "scores": ended}
            break
        waiting.extendleft(reversed(group))
        process.wait()
        reader.join()
        process.stdout.close()


def at_fault(found):
    """The steps of a layout that neither agree nor are refused."""
    return [step for step in STEPS if step in found and not found[step].startswith(("agrees", "refused"))]


@pytest.mark.parametrize("layout", ["llama", "gpt2", "mamba", "mixtral"])
def test_a_layout_answers_and_learns_as_by_hand(layout, tmp_path):
    found = trial(layout, tmp_path)
    assert [found[step] for step in STEPS] == ["agrees"] * len(STEPS)


def test_every_layout_agrees_or_is_refused(long, tmp_path):
    if not long:
        pytest.skip("takes half an hour: --long")
    import transformers

    rows = []
    for found in outcomes(LAYOUTS):
        print(json.dumps(found), flush=True)
        rows.append(found)
    assert [found["layout"] for found in rows] == LAYOUTS
    written = {"transformers": transformers.__version__, "layouts": rows}
    RESULTS.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    assert not {found["layout"]: at_fault(found) for found in rows if at_fault(found)}
