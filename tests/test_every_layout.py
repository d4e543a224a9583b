"""Every causal layout of transformers: scored, written, learned from, saved and merged as by hand, or refused.

python -m pytest tests/test_every_layout.py --long -s         # all of them, into benchmarks/results/layouts.json
"""

import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections import deque

import pytest
from transformers import __version__

from tests.imports import ROOT
from tests.layout_trials import trial
from tests.tiny_layouts import LAYOUTS
from tunediff.runtime.files import read_json

RESULTS = ROOT / "benchmarks" / "results" / "layouts.json"
PAGE = ROOT / "docs" / "reliability.md"
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


def table(rows):
    """Layouts by what came of them, in Markdown; what a line says of one layout alone is left out of it."""
    groups = {}
    for found in rows:
        groups.setdefault(cells(found), []).append(found["layout"])
    ordered = sorted(
        groups.items(), key=lambda item: (item[0][0].startswith(("refused", "cannot")), -len(item[1]), item)
    )
    lines = [[", ".join(names), f"{len(names)}", *of_each] for of_each, names in ordered]
    head = ["layouts", "number", "scores, texts, loss", "LoRA", "QLoRA"]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---", "---:", "---", "---", "---"], *lines])


def cells(found):
    """What the table says of a layout: of asking it, of LoRA and of QLoRA."""
    if "unbuilt" in found:
        return f"cannot be built tiny: {plain(found, found['unbuilt'])}", "", ""
    if "refused" in found:
        return f"refused: {plain(found, found['refused'])}", "", ""
    how = "a row per choice" if found.get("tree") is False else "choices in a tree"
    batches = f", texts {found['batches']}" if "batches" in found else ""
    asked = f"agree; {how}{batches}"
    faults = [f"{step}: {found.get(step, '-')}" for step in STEPS[:3] if found.get(step) != "agrees"]
    return (
        "; ".join(faults) or asked,
        *(
            plain(found, found.get(step, "")).partition(",")[0]
            if found.get(step, "").startswith("agrees")
            else plain(found, found.get(step, ""))
            for step in ("lora", "qlora")
        ),
    )


def plain(found, line):
    """A line without the layout's own name, and with nothing that Markdown would read."""
    line = re.sub(rf"(?<![\w-]){re.escape(found['layout'])}(?![\w-])", "…", line)
    return line.replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")


def idle(rows):
    """Layouts some of whose adapted layers learned nothing, and how many."""
    found = {row["layout"]: re.search(r"\d+ of \d+", row.get("lora", "")) for row in rows}
    return ", ".join(f"{layout} {match[0]}" for layout, match in found.items() if match)


@pytest.mark.pipeline
@pytest.mark.parametrize("layout", ["llama", "gpt2", "mixtral", "rwkv", "youtu"])
def test_a_layout_answers_and_learns_as_by_hand(layout, tmp_path):
    found = trial(layout, tmp_path)
    assert [found[step] for step in STEPS] == ["agrees"] * len(STEPS)
    # Read from what the engine prints, so the table would lose them if it printed something else.
    assert ("tree" in found) == (layout != "llama")
    assert found.get("batches") == ("one row at a time" if layout == "rwkv" else None)


@pytest.mark.pipeline
def test_an_adapter_of_blocks_that_share_their_weights_is_not_merged(tmp_path):
    found = trial("zamba2", tmp_path)
    assert found["lora"].startswith("refused: the adapter cannot be merged into the base model: model.layers.")
    assert found["lora"].endswith("share their weights, but each has its own adapter")


def test_every_layout_agrees_or_is_refused(long, tmp_path):
    if not long:
        pytest.skip("takes ten minutes: --long")
    rows = []
    for found in outcomes(LAYOUTS):
        print(json.dumps(found), flush=True)
        rows.append(found)
    assert [found["layout"] for found in rows] == LAYOUTS
    written = {"transformers": __version__, "layouts": rows}
    RESULTS.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    assert not {found["layout"]: at_fault(found) for found in rows if at_fault(found)}


def test_the_table_in_the_documents_is_that_of_the_last_sweep():
    page, written = PAGE.read_text(encoding="utf-8"), read_json(RESULTS)
    assert table(written["layouts"]) in page
    assert idle(written["layouts"]) in " ".join(page.split())
    assert f"transformers {written['transformers']}" in page
    assert {found["layout"] for found in written["layouts"]} <= {*LAYOUTS} or written["transformers"] != __version__
