"""What the documents say stands: links, names, the picture of the pipeline, file formats and figures."""

import csv
import json
import re

import pytest
import yaml

from tests.imports import ROOT
from tunediff.commands import main
from tunediff.data.schemas import METRICS, names
from tunediff.report.notation import duration, p_value, percent, points, signed, whole

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README, RESULTS, PIPELINE, RECIPES_PAGE = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", *(f"docs/{page}.md" for page in ("results", "dvc", "recipes")))
)
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in [path.stem, *re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)]
}


def document(path):
    return str(path.relative_to(ROOT))


def paths(entries):
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@pytest.mark.parametrize("path", DOCUMENTS, ids=document)
def test_every_link_of_a_document_leads_to_a_file(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    own = [link.split("#")[0] for link in links if "://" not in link]
    assert [link for link in own if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=document)
def test_every_file_and_test_that_a_document_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    files = re.findall(r"`((?:src|stages|tests|docs|recipes)/[a-z0-9_/.-]+)`", text)
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert [name for name in re.findall(r"\btest_(?:[a-z0-9]+_){2,}\w+", text) if name not in TESTS] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=document)
def test_no_figure_is_left_to_fill_in(path):
    assert re.findall(r"FIGURE\(.*?\)", path.read_text(encoding="utf-8")) == []


def test_the_picture_of_the_pipeline_is_that_of_dvc_yaml():
    [picture] = re.findall(r"```mermaid\nflowchart LR\n(.*?)```", PIPELINE, flags=re.DOTALL)
    drawn = set()
    for line in picture.strip().splitlines():
        sources, targets = (side.split("&") for side in line.split("-->"))
        drawn |= {(source.strip(), target.strip()) for source in sources for target in targets}
    written = {out: name for name, stage in STAGES.items() for out in paths([*stage["outs"], *stage.get("plots", [])])}
    real = {
        (source, name)
        for name, stage in STAGES.items()
        for dep in stage["deps"]
        for out, source in written.items()
        if source != "settings" and (dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/"))
    }
    # All read what `settings` writes, and the report reads all; the picture shows its last step alone.
    assert drawn == {(source, target) for source, target in real if target != "report"} | {("diff_cases", "report")}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_stands_in_its_page_and_in_the_results(name):
    assert f"`recipes/{name}.yaml`" in RECIPES_PAGE
    assert f"\n| {name} |" in RESULTS


@pytest.mark.parametrize("path", sorted((ROOT / "metrics").glob("*.json")), ids=document)
def test_a_metrics_file_has_the_keys_that_others_read(path):
    assert tuple(json.loads(path.read_text(encoding="utf-8"))) == names(METRICS[path.stem])


def before_and_after(diff):
    """Cells of a table: cases, before, after, and the difference with its interval."""
    low, high = (signed(100 * diff[f"accuracy_delta_{end}"]) for end in ("low", "high"))
    return [
        whole(diff["n"]),
        percent(diff["accuracy_base"]),
        percent(diff["accuracy_tuned"]),
        f"{points(diff['accuracy_delta'])} ({low} to {high})",
    ]


@pytest.mark.parametrize("name", re.findall(r"\(results/([\w-]+)\)", RESULTS))
def test_the_figures_of_a_result_are_those_of_its_files(name):
    folder = ROOT / "docs" / "results" / name

    def read(path):
        return json.loads(path.read_text(encoding="utf-8"))

    diff, baselines = read(folder / "diff_cases.json"), read(folder / "baselines.json")
    seconds = sum(read(path)["seconds"] for path in (folder / "cost").glob("*.json"))
    cells = [
        *before_and_after(diff),
        p_value(diff["mcnemar_p"]),
        percent(baselines["majority_accuracy"]),
        percent(baselines["partial_input_accuracy"]),
        duration(seconds),
    ]
    expected = " | ".join(cells).replace("\N{NO-BREAK SPACE}", " ")
    [row] = re.findall(rf"^\| {name} \| (.*)", RESULTS, flags=re.MULTILINE)
    assert expected in row, f"the row should hold: {expected}"


@pytest.mark.parametrize("name", ["sums", "orders", "rankings", "smollm2-squad-head", "smollm2-squad-lora"])
def test_the_figures_of_other_tasks_are_those_of_their_files(name):
    folder = ROOT / "docs" / "results" / "tasks" / name
    diff = json.loads((folder / "diff_cases.json").read_text(encoding="utf-8"))
    seconds = sum(json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in (folder / "cost").glob("*.json"))
    cells = [
        name,
        *before_and_after(diff),
        percent(diff["baseline_best"]),
        duration(seconds),
    ]
    assert f"| {' | '.join(cells)} |".replace("\N{NO-BREAK SPACE}", " ") in RESULTS


@pytest.mark.parametrize("name", sorted(name for name in RECIPES if name.startswith("small-")))
def test_the_figures_of_a_small_twin_are_those_of_its_files(name):
    folder = ROOT / "docs" / "results" / "small" / name
    diff = json.loads((folder / "diff_cases.json").read_text(encoding="utf-8"))
    seconds = sum(json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in (folder / "cost").glob("*.json"))
    cells = [
        *before_and_after(diff),
        f"{percent(diff['f1_base'])} to {percent(diff['f1_tuned'])}" if "f1_base" in diff else "",
    ]
    expected = " | ".join(cells).replace("\N{NO-BREAK SPACE}", " ")
    [row] = re.findall(rf"^\| {name} \| (.*)", RESULTS, flags=re.MULTILINE)
    assert expected in row, f"the row should hold: {expected}"
    assert f" | {duration(seconds)} | [results/small/{name}](results/small/{name}) |" in row


def test_the_figures_of_the_seeds_are_those_of_their_board():
    [recipe] = json.loads((ROOT / "docs/results/recipe/board.json").read_text(encoding="utf-8"))["recipes"]

    def interval(name):
        return f"{signed(100 * recipe[f'{name}_low'])} to {signed(100 * recipe[f'{name}_high'])}"

    cells = [
        str(len(recipe["seeds"])),
        f"{points(recipe['gain'])} ({interval('gain')})",
        interval("multi_bootstrap"),
        ", ".join(signed(100 * gain) for gain in recipe["gains"]),
        *(whole(recipe[name]) for name in ("stable_repair", "stable_break", "lottery")),
    ]
    assert f"| {' | '.join(cells)} |".replace("\N{NO-BREAK SPACE}", " ") in RESULTS
    flipped = sum(recipe[name] for name in ("stable_repair", "stable_break", "lottery"))
    assert f"of the {whole(flipped)} cases that some seed flips, {whole(recipe['lottery'])} are not" in RESULTS


def test_the_figures_of_the_sweep_are_those_of_its_board():
    board = json.loads((ROOT / "docs/results/sweep/board.json").read_text(encoding="utf-8"))
    separated = sum(pair["separated"] for pair in board["pairs"])
    assert f"{separated} of {len(board['pairs'])} pairs differ significantly" in RESULTS
    together = [run["accuracy"] for run in board["runs"] if run["name"] in board["groups"][0]]
    low, high = (percent(share).removesuffix("\N{NO-BREAK SPACE}%") for share in (min(together), max(together)))
    assert len(together) == 10
    assert f"ten runs from {low} to {high} % share a group" in RESULTS


@pytest.mark.parametrize("name", ["retention", "retention-snli"])
def test_the_figures_of_what_else_changed_are_those_of_their_file(name):
    with (ROOT / f"docs/results/smollm2-snli-a/{name}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            low, high = (signed(100 * float(row[end])) for end in ("low", "high"))
            cells = [
                row["set"],
                *(percent(float(row[f"accuracy_{side}"])) for side in ("base", "tuned")),
                f"{points(float(row['delta']))} ({low} to {high})",
                row["forgotten"],
                row["gained"],
                p_value(float(row["p_holm"])),
            ]
            line = f"| {' | '.join(cells)} |".replace("\N{NO-BREAK SPACE}", " ").replace("p = ", "")
            assert line in RESULTS


def test_the_perplexity_is_that_of_its_file():
    found = json.loads((ROOT / "docs/results/smollm2-snli-a/perplexity.json").read_text(encoding="utf-8"))
    before, after = (f"{found[f'perplexity_{side}']:.1f}" for side in ("base", "tuned"))
    delta, low, high = (f"{found[f'nll_delta{end}']:+.3f}" for end in ("", "_low", "_high"))
    sentence = f"perplexity rises from {before} to {after} ({delta} nats per token, {low} to {high};"
    assert sentence in " ".join(RESULTS.split())


SYSTEMS = [path.stem for path in (ROOT / "recipes").glob("*.yaml") if "published_parameters:" in path.read_text()]


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_counts_of_a_published_system_are_what_the_command_prints(name, monkeypatch, capsys):
    recipe, file = ROOT / "recipes" / f"{name}.yaml", ROOT / "docs" / "results" / "systems" / f"{name}.json"
    monkeypatch.setattr("sys.argv", ["tunediff", "count-params", str(recipe), "--json"])
    main.main()
    assert capsys.readouterr().out == file.read_text(encoding="utf-8")
    count = json.loads(file.read_text(encoding="utf-8"))
    shares = [
        percent(count["trainable_percent"] / 100, 4),
        f"{percent(count['packed_trainable_percent'] / 100, 2)} of {whole(count['packed_total'])}"
        if count["packed_total"] < count["tuned_total"]
        else "not packed",
    ]
    figures = [whole(count[key]) for key in ("base_total", "tuned_total", "trainable")]
    expected = " | ".join([*figures, *shares, whole(count["published_total"])]).replace("\N{NO-BREAK SPACE}", " ")
    [row] = re.findall(rf"^\| {name} \| (.*)", RESULTS, flags=re.MULTILINE)
    assert f"{expected}: " in row, f"the row should hold: {expected}"


def test_the_readme_gives_the_figures_of_the_default_experiment():
    diff = json.loads((ROOT / "docs" / "results" / "default" / "diff_cases.json").read_text(encoding="utf-8"))
    said = (
        f"{percent(diff['accuracy_base'])} before and {percent(diff['accuracy_tuned'])} after, on {whole(diff['n'])} "
    )
    assert said.replace("\N{NO-BREAK SPACE}", " ") in " ".join(README.split())


def test_the_readme_is_short_and_begins_with_a_picture_of_the_report_and_the_ways_in():
    assert len(README.splitlines()) <= 150
    headings = re.findall(r"^## (.*)", README, flags=re.MULTILINE)
    assert headings[0] == "Three ways in"
    before = README[: README.index("\n## ")]
    [picture] = [link for link in re.findall(r"\]\(([^)\s]+)\)", before) if link.endswith(".png")]
    assert (ROOT / picture).stat().st_size < 200_000


def test_the_example_report_is_that_of_the_committed_metrics():
    diff = json.loads((ROOT / "metrics" / "diff_cases.json").read_text(encoding="utf-8"))
    said = (
        f"from {percent(diff['accuracy_base'])} to {percent(diff['accuracy_tuned'])} on {whole(diff['n'])} test cases"
    )
    for name in ("report.md", "report.html"):
        text = (ROOT / "docs" / "example" / name).read_text(encoding="utf-8")
        assert said.replace("\N{NO-BREAK SPACE}", " ") in text.replace("\N{NO-BREAK SPACE}", " "), "make example"


@pytest.mark.parametrize("path", DOCUMENTS, ids=document)
def test_every_make_target_that_a_document_names_is_in_the_makefile(path):
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert named <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
