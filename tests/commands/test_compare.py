"""`tunediff compare`: from two models that are there already to the report, in one command."""

import argparse
import csv
import json
import os
import subprocess
import sys

import peft
import pytest
import torch
import yaml

from tests.hub_server import files_of, serve
from tests.imports import ROOT
from tests.program import tunediff
from tests.project import Project
from tests.stub_server import Stub
from tests.stub_server import serve as serve_models
from tests.tiny import small_model, write_model
from tunediff.commands import compare, scaffold
from tunediff.commands.model_names import named_model
from tunediff.runtime.errors import TunediffError

ROWS = [
    {"text": f"A {word} {noun} number {number}.", "label": label}
    for number in range(10)
    for word, label in (("good", "positive"), ("bad", "negative"))
    for noun in ("dog", "park")
]


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_adapter(folder, model, **keys):
    adapted = peft.get_peft_model(model, peft.LoraConfig(**({"r": 2, "target_modules": ["q_proj", "v_proj"]} | keys)))
    torch.manual_seed(3)
    for value in adapted.parameters():
        if value.requires_grad:
            value.data += 0.3 * torch.randn_like(value)
    adapted.save_pretrained(folder)


@pytest.fixture(scope="module")
def given(tmp_path_factory, tokenizer):
    """A folder with models, adapters and a file of cases."""
    folder = tmp_path_factory.mktemp("given")
    write_model(folder / "base", "llama", tokenizer)
    write_model(folder / "tuned", "llama", tokenizer, seed=7)
    names = {"id2label": {0: "joy", 1: "anger"}, "num_labels": 2}
    write_model(folder / "classifier", "llama", tokenizer, "classification", **names)
    write_adapter(folder / "adapter", small_model("llama", tokenizer))
    write_adapter(folder / "wider", small_model("llama", tokenizer, hidden_size=64, head_dim=16))
    write_csv(folder / "test.csv", ROWS)
    (folder / "empty").mkdir()
    return folder


def parsed(given, *arguments):
    """The arguments, those that name no other models or data with the usual ones."""
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    usual = [str(given / "base"), str(given / "adapter")] if not arguments or arguments[0].startswith("--") else []
    data = [] if "--data" in arguments else ["--data", str(given / "test.csv")]
    inputs = [] if "--input" in arguments else ["--input", "text"]
    return parser.parse_args([*usual, *map(str, arguments), *data, *inputs])


# What is wrong, in one line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--input", "txt"], "test.csv: found no column 'txt', expected one of text, label (did you mean text?)"),
        (["--input", "a b", "--input", "a_b"], "--input: found a b, a_b, which params.yaml would have to name a_b"),
        (["--label", "gold"], "test.csv: found no column 'gold', expected one of text, label"),
        (["--data", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (["--limit", "0"], "--limit: found 0, expected a number of cases of at least 1"),
        (["--choices", "positive= yes"], "task.labels: found ['positive'], expected"),
        (["--choices", "positive= yes,negative"], "--choices: found 'positive= yes,negative', expected LABEL=TEXT"),
        (["--choices", "good= yes,bad= no"], "label: found 'positive', expected one of good, bad"),
        (["--template", "{txt}?"], "prompt.template: names ['txt'], expected exactly task.inputs ['text']"),
        (["--head-labels", "a,b"], "--head-labels: given with --head lm, expected none"),
        (["--head", "classification", "--choices", "a= b,c= d"], "--choices: given with --head classification"),
        (
            ["BASE", "http://me:secret@a.b/v1"],  # pragma: allowlist secret
            "expected an address such as http://localhost:8000/v1, without user, password or query",
        ),
        (["BASE", "BASE", "--api-key-env", "KEY"], "are not addresses; expected none"),
        (["BASE", "./nowhere"], "./nowhere: there is no such folder, and it is not an id on the hub"),
        (["BASE", "me/tuned@main"], "me/tuned@main: found 'main' after @, expected a commit, 40 hexadecimal digits"),
        (["BASE", "EMPTY"], "tuned.id: EMPTY: found neither adapter_config.json nor config.json"),
        (["EMPTY", "BASE"], "model.id: EMPTY: found no config.json"),
        (["BASE", "WIDER"], "WIDER: is not an adapter of BASE"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(arguments, line, given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {name.upper(): str(given / name) for name in ("base", "empty", "wider")}
    arguments = [places.get(argument, argument) for argument in arguments]
    for name, place in places.items():
        line = line.replace(name, place)
    with pytest.raises(TunediffError) as caught:
        compare.main(parsed(given, *arguments))
    [found] = caught.value.args
    assert line in found
    assert "\n" not in found
    assert list(tmp_path.iterdir()) == []


def test_a_column_of_texts_is_not_taken_for_labels(given, tmp_path):
    rows = [{"text": f"number {number}", "label": f"text {number}"} for number in range(101)]
    with pytest.raises(TunediffError, match=r"label: found 101 different values, expected 2 to 100 labels"):
        compare.parameters(parsed(given, "--data", write_csv(tmp_path / "test.csv", rows)))


def test_a_row_without_the_label_is_named(given, tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text('{"text": "one", "label": "yes"}\n{"text": "two"}\n', encoding="utf-8")
    with pytest.raises(TunediffError, match=r"test\.jsonl, row 2: has no column 'label'"):
        compare.parameters(parsed(given, "--data", path))


def test_a_folder_that_is_no_project_is_left_alone(given, tmp_path):
    other = tmp_path / "base--adapter"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(TunediffError, match=r"exists without a params\.yaml"):
        compare.main(parsed(given, "--out", tmp_path))
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_params_yaml_that_was_changed_is_kept(given, tmp_path, capsys):
    for text in ("first: 1\n", "first: 1\n", "second: 2\n"):
        compare.write_project(tmp_path / "project", text, given / "test.csv")
    assert (tmp_path / "project/params.yaml").read_text() == "second: 2\n"
    assert (tmp_path / "project/params.yaml.before").read_text() == "first: 1\n"
    assert capsys.readouterr().out.count("params.yaml.before") == 1


# What the arguments stand for


def test_without_more_the_labels_are_the_choices_behind_a_plain_prompt(given):
    values = compare.parameters(parsed(given))
    assert values["prompt"] == {
        "template": "Text: {text}\nLabel:",
        "choices": {"negative": " negative", "positive": " positive"},
    }
    assert values["task"]["labels"] == ["negative", "positive"]
    assert values["model"]["id"] == str(given / "base")
    assert values["tuned"] == {"source": "folder", "id": str(given / "adapter"), "revision": None}
    assert not {"adapt", "train"} & set(values)


def test_every_option_stands_in_params_yaml(given, tmp_path):
    rows = [{"a text": "x", "hypothesis": "y", "gold": label, "n": 1} for label in ("1", "0", "")]
    data = write_csv(tmp_path / "cases.csv", rows)
    columns = ["--input", "a text", "--input", "hypothesis", "--label", "gold"]
    asked = ["--template", r"{a_text}\n{hypothesis}?", "--choices", "1= Yes,0= No", "--limit", "2"]
    values = compare.parameters(parsed(given, "--data", data, *columns, *asked))
    assert values["task"]["inputs"] == ["a_text", "hypothesis"]
    assert values["data"]["columns"] == {"a_text": "a text", "hypothesis": "hypothesis", "label": "gold"}
    assert values["data"]["unlabelled"] == [""]
    assert values["data"]["test"] == {"source": "test", "select": "random", "limit": 2, "seed": 0}
    assert values["prompt"] == {"template": "{a_text}\n{hypothesis}?", "choices": {"1": " Yes", "0": " No"}}
    values = compare.parameters(parsed(given, "--head", "classification", "--head-labels", "positive,negative"))
    assert values["evaluate"] == {"scoring_method": "head"}
    assert values["tuned"]["head_labels"] == ["positive", "negative"]


def test_a_gguf_file_is_a_model_and_gives_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "models" / "small-q4.gguf"
    path.parent.mkdir()
    path.touch()
    assert named_model("models/small-q4.gguf")[:3] == ("folder", str(path), None)
    assert compare._slug("models/small-q4.gguf") == "small-q4.gguf"


@pytest.mark.pipeline
def test_an_id_on_the_hub_is_pinned_at_its_newest_commit_or_at_the_one_that_is_named(given, tmp_path):
    commit = "0123456789abcdef" * 2 + "01234567"
    assert named_model(f"me/tuned@{commit}")[:3] == ("hub", "me/tuned", commit)
    script = "import sys; from tunediff.commands.model_names import named_model as of; print(of(sys.argv[1]).revision)"
    with serve() as hub:
        revision = hub.commit("model", "me/tuned", files_of(given / "adapter"))

        def newest(id):
            return subprocess.run(
                [sys.executable, "-c", script, id],
                env=os.environ | hub.environment(tmp_path / "home"),
                capture_output=True,
                text=True,
                check=False,
            )

        assert newest("me/tuned").stdout.strip() == revision
        assert "me/other: there is no such folder; hub model me/other: the hub has no such model" in (
            newest("me/other").stderr
        )


def test_addresses_stand_in_params_yaml_and_are_asked_for_the_names(given):
    with serve_models(Stub(key="key")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_KEY", "key")
        keyed = ["--api-key-env", "MY_KEY"]
        values = compare.parameters(parsed(given, f"{url}#base", f"{url}#tuned", *keyed))
        assert values["model"] == {"source": "server", "id": "base", "revision": None} | {
            "head": "lm",
            "quantization": "none",
        }
        assert values["engine"] == {"kind": "server", "url": url, "api_key_env": "MY_KEY"}  # pragma: allowlist secret
        assert values["tuned"] == {"source": "server", "id": "tuned", "revision": None}
        with serve_models(Stub(key="key")) as other:
            values = compare.parameters(parsed(given, f"{url}#base", f"{other}#tuned", *keyed))
            assert values["tuned"]["url"] == other
        for arguments, line in (
            ([f"{url}#base", f"{url}#best", *keyed], "found no model best, expected one of base, tuned"),
            ([f"{url}#base", url, *keyed], "found several models and no name, expected one of base, tuned"),
            ([f"{url}#base", given / "tuned", *keyed], "tuned is not; expected both"),
            ([f"{url}#base", f"{url}#tuned"], "answered 401"),
        ):
            with pytest.raises(TunediffError, match=line):
                compare.parameters(parsed(given, *arguments))


def test_the_wheel_holds_the_pipeline_that_a_project_is_made_of():
    files = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    assert set(files["stages"]) == {path.stem for path in (ROOT / "stages").glob("*.py")}
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in scaffold.PIPELINE:
        assert f'"{name}" = "tunediff/pipeline/{name}"' in settings


# From end to end


@pytest.fixture(scope="module")
def compared(given, tmp_path_factory):
    """A folder in which an adapter was compared, and what was said."""
    folder = tmp_path_factory.mktemp("compared")
    arguments = ["compare", given / "base", given / "adapter", "--data", given / "test.csv", "--input", "text"]
    arguments += ["--choices", "positive= yes,negative= no", "--limit", "24"]
    return folder, arguments, tunediff(folder, *arguments)


@pytest.mark.pipeline
@pytest.mark.xdist_group("compared")
def test_a_report_comes_out_of_one_command(compared):
    folder, _, (code, out, err) = compared
    assert code == 0, out + err
    project = folder / "reports" / "base--adapter"
    assert out.rstrip().endswith("compare: reports/base--adapter/reports/report.html")
    assert r"the prompt is 'Text: {text}\nLabel:' (--template)" in out
    text = (project / "reports" / "report.md").read_text(encoding="utf-8")
    for words in ("The tuned model was not trained here", "Its training data are unknown too"):
        assert words in text
    assert not any(words in text for words in ("majority", "training cases", "features and train"))
    diff = json.loads((project / "metrics" / "diff_cases.json").read_text())
    assert diff["n"] == 24
    counts = json.loads((project / "metrics" / "count_params.json").read_text())
    held = sum(value.numel() for value in _weights(project / "models" / "tuned"))
    assert counts["adapter_added"] == counts["trainable"] == held
    assert "leaked_pairs" not in json.loads((project / "metrics" / "prepare.json").read_text())


@pytest.mark.pipeline
@pytest.mark.xdist_group("compared")
def test_dvc_agrees_and_the_same_command_computes_nothing_again(compared):
    folder, arguments, _ = compared
    project = folder / "reports" / "base--adapter"
    before = (project / "dvc.lock").read_bytes()
    assert "up to date" in Project.at(project).run("dvc", "status")
    code, out, err = tunediff(folder, *arguments)
    assert code == 0, out + err
    assert "11 of 11 stages came from the cache" in out
    assert (project / "dvc.lock").read_bytes() == before
    code, out, _ = tunediff(project, "predict", "--json", "text=A good dog.")
    assert code == 0
    answer = json.loads(out.splitlines()[-1])
    assert answer["base_probabilities"] != answer["tuned_probabilities"]


def _weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors").values()
