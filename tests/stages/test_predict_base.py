import json
from pathlib import Path

from tests.program import script
from tests.tiny import CASES, LABELS, asked_for, model_section, pin, small_bert_tokenizer, write_model
from tunediff.config.prompt import Prompt
from tunediff.data.answers import read_answers
from tunediff.data.cases import write_cases
from tunediff.inputs.settings import PredictSettings

SCRIPT = Path(__file__).parents[2] / "stages" / "predict_base.py"


def stage(folder, section, **evaluate):
    settings = PredictSettings(
        model=section,
        evaluate={"scoring_method": "head", "batch_tokens": 512, **evaluate},
        sets={"test": asked_for("labels", prompt=Prompt())},
    )
    machine = {"logging_steps": 10, "save_total_limit": None, "num_processes": 1}
    (folder / "settings.json").write_text(settings.model_dump_json())
    (folder / "machine.json").write_text(json.dumps(machine))
    paths = {"settings": "settings.json", "test-sets": "sets", "validation": "sets/test.jsonl", "base": "base"}
    paths |= {"answers": "answers", "environment": "environment.json", "cost": "cost.json"}
    options = [part for name, path in paths.items() for part in (f"--{name}", path)]
    done = script(folder, SCRIPT, *options)
    assert done.returncode == 0, done.stderr
    return read_answers(folder / "answers/test.parquet")[0]


def test_another_head_answers_the_same_cases_and_changes_nothing_of_what_is_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the model's id is a path from here
    section = model_section(Path("published"), head="classification")
    pin(tmp_path / "base", write_model(tmp_path / "published", "bert", small_bert_tokenizer(), "none"), section)
    (tmp_path / "sets").mkdir()
    write_cases(tmp_path / "sets/test.jsonl", CASES)
    plain, noisy = stage(tmp_path, section), stage(tmp_path, section, noise_seed=5)
    assert "seed_text" not in plain
    assert noisy.drop(columns=["seed_text", "seed_log_probs"]).to_json() == plain.to_json()
    assert set(noisy["seed_text"]) <= set(LABELS)
    # Two random heads over the same features agree on all eight cases only by chance; these two do not.
    assert (noisy["seed_text"] != noisy["text"]).any()
