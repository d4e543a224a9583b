"""`tunediff merge` in small projects with real NF4 weights."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.program import tunediff
from tests.whole_files import read_jsonl
from tunediff.data.cases import read_predictions

pytestmark = [pytest.mark.pipeline, pytest.mark.xdist_group("merge")]

STEPS = [("base", "NF4 base"), ("NF4 base", "tuned"), ("tuned", "merged"), ("base", "merged")]


def figures(folder):
    return json.loads((folder / "models/merged/merge.json").read_text())


@pytest.fixture(scope="module")
def merged(small_run, tmp_path_factory):
    """The small project with its adapter merged, and what was said."""
    project = small_run.copy(tmp_path_factory.mktemp("merged"))
    return project, tunediff(project.folder, "merge", "--max-flips", "120")


@pytest.fixture(scope="module")
def rough(small_run, tmp_path_factory):
    """A project whose base has weights that four bits hold badly: there a merged model answers otherwise."""
    project = small_run.copy(tmp_path_factory.mktemp("rough"))
    path = project.folder / "models/base/model.safetensors"
    torch.manual_seed(0)
    save_file({name: value + 0.2 * torch.randn_like(value) for name, value in load_file(path).items()}, path,
              metadata={"format": "pt"})  # fmt: skip
    return project


def test_every_step_is_counted_on_the_test_split(merged):
    project, (code, out, _) = merged
    assert code == 0
    found = figures(project.folder)
    assert [(step["before"], step["after"]) for step in found["steps"]] == STEPS
    assert all(step["n"] == 120 for step in found["steps"])
    # The second step is the fine-tuning itself, which the pipeline has measured.
    base, tuned = (read_predictions(project.folder / f"data/predictions/{model}/test.parquet")[0] for model in
                   ("base", "tuned"))  # fmt: skip
    right, right_after = base["outcome"] == "right", tuned["outcome"] == "right"
    step = found["steps"][1]
    assert (step["repaired"], step["broken"]) == ((~right & right_after).sum(), (right & ~right_after).sum())
    assert "NF4 base -> tuned" in out
    low, high = 100 * step["flips_low"], 100 * step["flips_high"]
    assert f"{step['flips']} ({low:.1f} to {high:.1f} %)" in out.replace("\N{NO-BREAK SPACE}", " ")


def test_transformers_alone_loads_it_and_it_gives_the_answers_that_were_counted(merged):
    """The choices scored here by hand, each in a forward pass of its own."""
    project, _ = merged
    folder, params = project.folder / "models/merged", project.params()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    changed = {case["case_id"]: case["merged_prediction"] for case in figures(project.folder)["changed_cases"]}
    tuned = read_predictions(project.folder / "data/predictions/tuned/test.parquet")[0]
    for case, row in zip(
        read_jsonl(project.folder / "data/test_sets/test.jsonl")[:40], tuned.itertuples(), strict=False
    ):
        text = params["prompt"]["template"].format(premise=case["premise"], hypothesis=case["hypothesis"])
        prompt, scores = tokenizer(text).input_ids, {}
        for label, choice in params["prompt"]["choices"].items():
            answer = tokenizer(choice, add_special_tokens=False).input_ids
            with torch.no_grad():
                log_probs = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 :].log_softmax(-1)
            scores[label] = float(sum(log_probs[at, token] for at, token in enumerate(answer)))
        assert max(scores, key=scores.get) == changed.get(case["case_id"], row.prediction)


def test_a_merged_model_that_answers_otherwise_is_reported_and_a_gate_closes_where_one_is_asked_for(rough):
    code, out, error = tunediff(rough.folder, "merge")
    found = figures(rough.folder)
    step = found["steps"][2]
    assert code == 0
    assert step["flips"] > 0
    assert len(found["changed_cases"]) == step["changed"] >= step["flips"]
    assert (
        f"THE MERGED MODEL DIFFERS FROM THE TUNED MODEL: it answers {step['changed']} of 120 cases differently" in error
    )
    assert found["changed_cases"][0]["case_id"] in error
    assert "the same answers as the tuned model" not in out
    # Again over the earlier merge.
    code, _, error = tunediff(rough.folder, "merge", "--max-flips", step["flips"] - 1)
    assert code == 3
    assert f"flips: found {step['flips']}, more than the {step['flips'] - 1} allowed" in error
    assert figures(rough.folder) == found


def test_without_quantisation_the_merged_model_is_the_tuned_one(small_run, tmp_path):
    project = small_run.copy(tmp_path)
    project.change(model={"quantization": "none"}, adapt={"method": "lora"})
    project.run("dvc", "repro", "train")
    code, out, error = tunediff(project.folder, "merge", "--max-flips", "0")
    assert (code, error) == (0, "")
    assert [(step["before"], step["after"]) for step in figures(project.folder)["steps"]] == [
        ("base", "tuned"),
        ("tuned", "merged"),
        ("base", "merged"),
    ]
    assert "The merged model gives the same answers as the tuned model on all 120 cases." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "../merged"], "leads out of the project"),
        (["--out", "models/tuned"], "which the stage train writes"),
        (["--out", "data/splits/merged"], "which the stage prepare writes"),
        (["--out", "models"], "which exists without merge.json"),
        (["--out", "README.md"], "which exists without merge.json"),
        (["--max-flips", "-1"], "--max-flips: found -1, expected a number of cases of at least 0"),
    ],
)
def test_what_stands_in_the_way_is_left_alone(small_run, arguments, message):
    code, out, error = tunediff(small_run.folder, "merge", *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert message in error
    assert small_run.run("git", "status", "--porcelain", "--untracked-files=all", "models", "README.md") == ""


@pytest.mark.parametrize("method", ["full", "head"])
def test_a_model_without_an_adapter_is_refused(small_run, tmp_path, method):
    project = small_run.copy(tmp_path)
    manifest = project.folder / "models/tuned/manifest.json"
    manifest.unlink()
    manifest.write_text(json.dumps({"source": "train", "method": method, "form": "weights"}))
    code, out, error = tunediff(project.folder, "merge")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert f"form: found weights (adapt.method {method}), which has nothing to merge; expected an adapter" in error
    assert not (project.folder / "models/merged").exists()


def test_a_merge_that_fails_leaves_the_earlier_one(merged, tmp_path):
    project = merged[0].copy(tmp_path)
    before = pd.Series({path.name: path.read_bytes() for path in (project.folder / "models/merged").iterdir()})
    (project.folder / "models/tuned/adapter_model.safetensors").write_bytes(b"damaged")
    code, _, error = tunediff(project.folder, "merge")
    assert (code, error.count("\n")) == (1, 1)
    after = pd.Series({path.name: path.read_bytes() for path in (project.folder / "models/merged").iterdir()})
    assert before.sort_index().equals(after.sort_index())
    assert sorted(path.name for path in (project.folder / "models").iterdir()) == [
        *(".gitignore", "base", "merged", "tuned")
    ]
