"""benchmarks/README.md: its figures are those of the files that it names, and none falls short without a word."""

import re
from statistics import median

import pytest

from tests.imports import ROOT
from tunediff.runtime.files import read_json

FOLDER = ROOT / "benchmarks"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"\| \[(?P<name>[\w-]+)\]\(results/(?P=name)\.json\) \| (?P<ratio>[\d.]+) x \| (?P<reach>[\d.]+) x"
    r" \| (?P<ours>[\d.]+) s \| (?P<theirs>[\d.]+) s \| (?P<apart>\S+) \| (?P<most>\S+) \|"
)
ROWS = [match.groupdict() for match in ROW.finditer(PAGE)]


def test_each_row_of_the_first_table_has_its_result():
    scripts = set(re.findall(r"^\| `(\w+)\.py", PAGE, re.MULTILINE))
    assert {path.stem for path in FOLDER.glob("*.py")} - {"setting", "work", "layout"} == scripts
    told_elsewhere = {"busy", "diff", "leaks", "memory", "newcomer", "options", "page", "pipeline", "seeds", "stream"}
    measured = {row["name"].removeprefix("smollm2-").partition("-")[0] for row in ROWS}
    assert measured == scripts - told_elsewhere


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_row_says_what_its_file_says(row):
    result = read_json(FOLDER / "results" / f"{row['name']}.json")
    ours, *_, theirs = result["seconds"].values()
    assert float(row["ratio"]) == result["ratio"]
    assert float(row["reach"]) == result["reach"]
    assert float(row["ours"]) == pytest.approx(median(ours), abs=0.051)
    assert float(row["theirs"]) == pytest.approx(median(theirs), abs=0.051)
    assert float(row["apart"]) == pytest.approx(result["agreement"], rel=0.5)
    assert float(row["most"]) == result["tolerance"] >= result["agreement"]
    assert result["command"].endswith(f"--out benchmarks/results/{row['name']}.json")
    assert "--quick" not in result["command"]


def test_the_table_of_diff_says_what_its_files_say():
    found = re.findall(r"^\| ([\d,]+) \| ([\d.]+) s \| (\d+) MiB \| (\d+) µs \|$", PAGE, re.MULTILINE)
    rows = [
        *read_json(FOLDER / "results" / "diff.json")["rows"][1:],
        read_json(FOLDER / "results" / "diff-10m.json")["rows"][-1],
    ]
    expected = [
        (f"{r['cases']:,}", f"{r['seconds']:.1f}", str(r["peak_memory_mib"]), f"{r['microseconds_per_case']:.0f}")
        for r in rows
    ]
    assert found == expected


def test_the_table_of_the_stream_says_what_its_file_says():
    row = r"^\| ([\d,]+) \| ([\d.]+) s \| (\d+) MiB \| ([\d.]+) s \| (\d+) MiB \|$"
    expected = [
        (
            f"{r['cases']:,}",
            *(
                text
                for name in ("predict", "eval")
                for text in (f"{r[f'{name}_seconds']:.1f}", str(r[f"{name}_peak_mib"]))
            ),
        )
        for r in read_json(FOLDER / "results" / "stream.json")["rows"]
    ]
    assert re.findall(row, PAGE, re.MULTILINE) == expected


def test_the_table_of_the_pipeline_says_what_its_file_says():
    result = read_json(FOLDER / "results" / "pipeline.json")
    ours, theirs = (median(side) for side in zip(*result["seconds"], strict=True))
    cold = result["cold"]
    assert f"| {cold['seconds']} s | {cold['stages']} s of its eleven stages | {cold['ratio']} x |" in PAGE
    assert f"| {ours:.2f} s | {theirs:.2f} s of a bare project of two stages | {result['ratio']} x |" in PAGE
    assert f"`diff.confidence` | {result['diff_changed']['seconds']} s |" in PAGE


def test_the_table_of_the_busy_machine_says_what_its_file_says():
    result = read_json(FOLDER / "results" / "busy.json")
    seconds, idle = result["seconds"], result["seconds"]["idle"]
    assert re.findall(r"^\| ([a-z0-9, ]+) \| ([\d.]+) s \| ([\d.]+) x \|", PAGE, re.MULTILINE) == [
        (state, str(each), f"{each / idle:.2f}") for state, each in seconds.items()
    ]


def test_the_table_of_the_memory_says_what_its_file_says():
    result = read_json(FOLDER / "results" / "memory.json")
    assert re.findall(r"^\| `(auto|never)` \| ([\d.]+) s \| ([\d,]+) MB \|$", PAGE, re.MULTILINE) == [
        (keep, f"{row['seconds']:.1f}", f"{row['peak_memory_mb']:,}") for keep, row in result["rows"].items()
    ]
    over = result["rows"]["auto"]["peak_memory_mb"] / result["reach_mb"] - 1
    assert over <= 0 or f"at most 1.5 GB by default, is missed by {over:.0%}".replace("%", " %") in PAGE


def test_what_the_page_and_the_leaks_take_is_that_of_their_files():
    page, leaks = (read_json(FOLDER / "results" / f"{name}.json") for name in ("page", "leaks"))
    assert f"opens in {page['seconds']} s, reach {page['reach_seconds']:.0f} s" in PAGE
    assert f"{leaks['seconds']} s, reach {leaks['reach_seconds']:.0f} s" in " ".join(PAGE.split())
    assert f"peak memory {leaks['peak_memory_mib']:,} MiB" in PAGE


def test_the_table_of_the_newcomer_says_what_its_file_says():
    result = read_json(FOLDER / "results" / "newcomer.json")
    assert result["commands"] <= result["reach_commands"]
    timed = [row for row in result["rows"] if not row["command"].startswith("cd ")]
    for row in timed:
        command = " ".join(row["command"].split()[:2])
        assert f"| `{command}` | {row['seconds']} s | {row['processor_seconds']} s |" in PAGE
    processor = sum(row["processor_seconds"] for row in timed)
    assert f"| all {result['commands']}, with `cd` | {result['seconds']} s | {processor:.1f} s |" in PAGE
    assert f"a load of {result['load']} on" in PAGE


def test_the_agreement_of_the_options_is_that_of_the_file():
    result = read_json(FOLDER / "results" / "options.json")
    number = f"{result['agreement']:.1e}".replace("e-0", "e-")
    assert f"over {result['cases']} cases and three options, likelihoods differ by at most {number}" in " ".join(
        PAGE.split()
    )
    assert set(result["choices_that_differ"].values()) == {0}


def test_the_later_epochs_of_a_head_are_those_of_the_file():
    assert f"is {read_json(FOLDER / 'results' / 'heads.json')['later_epochs']} times as fast" in PAGE


def test_the_readme_quotes_the_files():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    ratio = {
        name: read_json(FOLDER / "results" / f"{name}.json")["ratio"] for name in ("choices-multi", "training-best")
    }
    assert f"{ratio['choices-multi']} times as fast as by lm-evaluation-harness" in readme
    assert f"QLoRA takes {ratio['training-best']} times as many rows per second as TRL at its best settings" in readme


def test_the_table_of_seeds_says_what_its_file_says():
    result = read_json(FOLDER / "results" / "seeds.json")
    found = re.findall(
        r"^\| (seeds [a-z ]+) \| (\d+) \| (\d) \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|$", PAGE, re.MULTILINE
    )
    kinds = ("recipe", "multi_bootstrap", "one_checkpoint")
    expected = [
        (row["setting"], str(row["seeds"]), str(row["cases_a_premise"]), *_percentages(row[kind] for kind in kinds))
        for row in result["rows"]
    ]
    assert found == expected
    assert result["draws"] == 4000
    assert all(0.93 <= row["recipe"] <= 0.97 for row in result["rows"])


def _percentages(shares):
    return [f"{100 * share:.1f}" for share in shares]
