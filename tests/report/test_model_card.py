from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index
from markdown_it import MarkdownIt

from tests.imports import ROOT
from tests.report.made import HOSTILE, LABELS, TASK, made_results, usual_cases
from tunediff.config.prompt import Prompt
from tunediff.config.report import Report
from tunediff.config.tuned import Tuned
from tunediff.report.model_card import Setup, loading_code, model_card, protocol_hash
from tunediff.report.page import page_contents
from tunediff.tasks.experiment import read_experiment

RECIPES = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]


def setup_of(path):
    params = read_experiment(path).params
    return Setup(params.data, params.model, params.prompt, params.evaluate, params.adapt, params.tuned)


def card_of(tmp_path, setup, cases=None, title="Captions: base against QLoRA", task=TASK, **changes):
    results = made_results(tmp_path, cases or usual_cases(), **changes)
    contents = page_contents(results, Report(title=title))
    return model_card(contents, setup), results


@pytest.fixture(scope="module")
def phi(tmp_path_factory):
    return card_of(tmp_path_factory.mktemp("card"), setup_of(ROOT / "recipes/phi2-snli-a.yaml"), evidence=True)


@pytest.mark.slow
def test_the_hub_reads_the_front_matter_and_finds_the_metrics_in_it(phi):
    text, results = phi
    data = ModelCard(text, ignore_metadata_errors=False).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("peft", "text-generation", "unknown")
    assert (data.base_model, data.datasets) == ("microsoft/phi-2", ["stanfordnlp/snli"])
    assert data.base_model_relation == "adapter"
    assert data.tags == ["tunediff", "qlora"]
    found = {result.metric_name: result for result in data.eval_results}
    assert found["Accuracy"].metric_value == results.eval_tuned["accuracy"]
    assert found["Macro F1"].metric_value == results.eval_tuned["macro_f1"]
    assert found["Accuracy"].dataset_revision == "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b"
    [index] = eval_results_to_model_index(data.model_name, data.eval_results)
    assert index == yaml.safe_load(text.split("---")[1])["model-index"][0]


def test_the_card_tells_what_was_measured_and_how(phi):
    text, results = phi
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    for said in (
        "| Accuracy (higher is better) | 36.1 % | 88.8 % | +52.7 points | +49.6 to +55.6 points |",
        "Exact McNemar test, two-sided: p = 9.5 × 10⁻¹⁶⁴, of 653 repaired cases and 21 broken ones.",
        "Smallest difference detectable with 80 % power: +6.1 points.",
        "Negative flips: 1.8 % of all cases (1.1 to 2.7 %)",
        "| the answer format | +5.3 points | +3.3 to +7.3 points |",
        "| test cases that also occur in the training split | 0 |",
        "| `train` | 00:04:23 | 1.50 GiB | 36 | 9,000 | CPU Intel",
        "The model was trained once",
        'PeftModel.from_pretrained(base, "NAMESPACE/NAME")',
    ):
        assert said in text
    assert f"{len(results.cases):,} test cases" in text


def test_figures_that_were_not_measured_are_left_out(tmp_path):
    text, _ = card_of(tmp_path, setup_of(ROOT / "params.yaml"))
    assert "Parts of the change" not in text
    assert "joules" not in text.replace("no joules", "")
    assert "base_model" not in text.split("---")[1]


@pytest.mark.slow
def test_text_of_a_data_set_stays_text(tmp_path):
    labels = [f"{LABELS[0]} <b>&", LABELS[1], "a | b [x](http://evil.example)"]
    task = replace(TASK, labels=labels)
    cases = [case | {"label": labels[LABELS.index(case["label"])]} for case in usual_cases()]
    for case in cases:
        for key in ("base_prediction", "tuned_prediction"):
            case[key] = None if case[key] is None else labels[LABELS.index(case[key])]
    setup = setup_of(ROOT / "recipes/minilm-snli.yaml")
    for title in (*HOSTILE, "a: b # c", "---\nlicense: mit"):
        text, _ = card_of(tmp_path, setup, cases, title, task, labels=labels)
        data = ModelCard(text, ignore_metadata_errors=False).data
        assert data.license == "unknown"
        body = text.split("\n---\n", 1)[1]
        html = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
        for tag in ("<script", "<b>", "<img", 'href="http://evil', "<!--", "<h1>heading"):
            assert tag not in html, (title, tag)


def test_a_tuned_model_in_a_precision_of_its_own_is_loaded_in_that(tmp_path):
    setup = setup_of(ROOT / "recipes/phi2-snli-c.yaml")
    tuned = Tuned(source="folder", id="theirs", quantization="int8")
    text, _ = card_of(tmp_path, setup._replace(adapt=None, tuned=tuned))
    assert "BitsAndBytesConfig(load_in_8bit=True" in text
    assert "BitsAndBytesConfig" not in card_of(tmp_path, setup)[0]


def test_no_path_of_this_machine_is_told(tmp_path):
    setup = setup_of(ROOT / "recipes/minilm-snli.yaml")
    data = setup.data.model_copy(update={"path": "/home/someone/secret/snli"})
    text, _ = card_of(tmp_path, setup._replace(data=data))
    assert "someone" not in text
    assert "name: snli" in text


def test_the_protocol_is_that_of_prompt_decoding_scorer_and_cases():
    setup = setup_of(ROOT / "params.yaml")
    prompt, evaluate = setup.prompt, setup.evaluate
    ids = ["a" * 16, "b" * 16]
    known = protocol_hash(prompt, evaluate, ids)
    assert len(known) == 16
    assert protocol_hash(prompt, evaluate, ids[::-1]) == known
    assert protocol_hash(prompt, evaluate.model_copy(update={"batch_tokens": 64}), ids) == known
    assert protocol_hash(prompt, evaluate.model_copy(update={"max_new_tokens": 99}), ids) == known
    free = evaluate.model_copy(update={"scoring_method": "generation"})
    longer = free.model_copy(update={"max_new_tokens": 99})
    changed = [
        protocol_hash(prompt, evaluate, ids[:1]),
        protocol_hash(prompt.model_copy(update={"template": "{premise} {hypothesis}"}), evaluate, ids),
        protocol_hash(prompt.model_copy(update={"choices": {"entailment": " so"}}), evaluate, ids),
        protocol_hash(prompt, free, ids),
        protocol_hash(prompt, longer, ids),
    ]
    assert len({known, *changed}) == 6


def test_the_protocol_of_a_chat_is_also_that_of_its_messages_and_of_its_chat_template():
    setup = setup_of(ROOT / "params.yaml")
    turn = {"role": "user", "content": "{premise} {hypothesis}"}
    choices = {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}
    prompts = [
        Prompt.model_validate({"choices": choices} | keys)
        for keys in (
            {"messages": [turn]},
            {"messages": [{"role": "system", "content": "Be brief."}, turn]},
            {"messages": [turn], "chat_template_kwargs": {"enable_thinking": True}},
            {"template": turn["content"]},
        )
    ]
    hashes = [protocol_hash(prompt, setup.evaluate, ["a" * 16], chat_template="b" * 16) for prompt in prompts]
    hashes.append(protocol_hash(prompts[0], setup.evaluate, ["a" * 16], chat_template="c" * 16))
    assert len(set(hashes)) == 5


def test_the_protocol_does_not_change_with_keys_that_the_model_never_reads():
    setup = setup_of(ROOT / "params.yaml")
    prompt, ids = setup.prompt, ["a" * 16]
    texts = prompt.choices.values()
    unread = {"max_tokens": 64, "doc_stride": 9, "choices": dict(zip("abc", texts, strict=True))}
    known = protocol_hash(prompt, setup.evaluate, ids)
    assert protocol_hash(prompt.model_copy(update=unread), setup.evaluate, ids) == known
    cutting = [prompt.model_copy(update={"too_long": "truncate", "max_tokens": length}) for length in (64, 65)]
    assert len({known, *(protocol_hash(one, setup.evaluate, ids) for one in cutting)}) == 3
    strides = [prompt.model_copy(update={"doc_stride": stride}) for stride in (8, 9)]
    assert len({protocol_hash(one, setup.evaluate, ids, windows=True) for one in strides}) == 2


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_loading_code_of_every_recipe_is_python_and_names_its_base(path):
    setup = setup_of(path)
    code = loading_code(setup.model, setup.adapt.method in ("qlora", "lora"), LABELS)
    compile(code, "card", "exec")
    adapter = setup.adapt.method in ("qlora", "lora")
    assert ("PeftModel" in code) == adapter
    assert ("load_in_4bit" in code) == (setup.model.quantization == "nf4")
    if adapter and setup.model.source == "hub":
        assert f'"{setup.model.id}", revision="{setup.model.revision}"' in code
