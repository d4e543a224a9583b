"""A chat model is scored and writes by its own template, in every evaluation setting, and ends with its turn."""

import pytest
import torch

from tests.chats import CHAT_CHOICES, KINDS, chat_prompt, turn_ends
from tests.tiny import CASES, LABELS, adapt_section, engine_of, load, write_model
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.cases import make_cases
from tunediff.engines.asking import ask_cases
from tunediff.engines.case_sets import ask_sets
from tunediff.engines.local import transformers_engine
from tunediff.engines.other_settings import other_settings
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import HEADLINE, VALIDATION, CaseSet, PredictSettings
from tunediff.models.adapt import adapt_model
from tunediff.models.sources import MANIFEST
from tunediff.models.tuned import save_tuned
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import write_json

CHOOSE = Evaluate(scoring_method="choices")


def loaded_of(kind, folder, tokenizer=None, name="model", **config):
    made = tokenizer or KINDS[kind]()
    return load(
        folder / f"base-{name}", write_model(folder / name, "llama", made, max_position_embeddings=1024, **config)
    )


def set_of(kind, answer="choices", **keys):
    ask = Ask(answer=answer, names=LABELS, choices=CHAT_CHOICES)
    prompt = chat_prompt(kind, **keys)
    return CaseSet(inputs=["premise", "hypothesis"], labels=LABELS, partial_input="hypothesis", prompt=prompt, ask=ask)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return loaded_of("smollm2", tmp_path_factory.mktemp("chat"))


@pytest.fixture
def asked(loaded, monkeypatch):
    """The texts of the prompts that reach the model, as transformers decodes their tokens."""
    seen = []

    def score(model, prompts, choices, *_):
        seen.extend(loaded.tokenizer.decode(row) for row in prompts)
        return torch.zeros(len(prompts), len(choices[0]))

    monkeypatch.setattr(transformers_engine, "score_choices", score)
    return seen


@torch.no_grad()
@pytest.mark.parametrize("kind", ["smollm2", "llama3", "gemma2", "llama2", "qwen3"])
def test_scores_are_those_of_the_answer_behind_the_prompt_of_transformers(kind, tmp_path):
    loaded = loaded_of(kind, tmp_path)
    frame = ask_cases(engine_of(loaded), CASES, set_of(kind), CHOOSE, "base")
    for case, found in zip(CASES, frame["log_probs"], strict=True):
        turns = [
            {"role": message.role, "content": message.content.format(**case.inputs)}
            for message in chat_prompt(kind).messages
        ]
        scores = []
        keys = {"return_dict": False, "enable_thinking": False}
        asked = loaded.tokenizer.apply_chat_template(turns, add_generation_prompt=True, **keys)
        for text in CHAT_CHOICES.values():
            whole = [*turns, {"role": "assistant", "content": text}]
            tokens = loaded.tokenizer.apply_chat_template(whole, **keys)
            [end] = turn_ends(loaded.tokenizer, chat_prompt(kind))
            length = len(asked) + tokens[len(asked) :].index(end)
            if kind == "llama2":  # the blank before the end is no part of the answer
                length -= 1
            log_probs = loaded.model(torch.tensor([tokens[:length]])).logits[0].double().log_softmax(-1)
            scores.append(sum(log_probs[i - 1, tokens[i]] for i in range(len(asked), length)))
        torch.testing.assert_close(
            torch.tensor(found, dtype=torch.float64), torch.stack(scores).log_softmax(-1), atol=1e-5, rtol=0
        )
    assert set(frame["text"]) <= set(CHAT_CHOICES.values())


def test_a_turn_that_ends_is_an_answer_that_stops(tmp_path):
    # Llama 3's end of a turn is not the end marker of its tokenizer.
    loaded = loaded_of("llama3", tmp_path)
    end = loaded.tokenizer.convert_tokens_to_ids("<|eot_id|>")
    head = torch.nn.Linear(loaded.model.config.hidden_size, len(loaded.tokenizer), bias=True)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    head.bias.data[end] = 1
    loaded.model.lm_head = head.requires_grad_(False)
    evaluate = Evaluate(scoring_method="generation", max_new_tokens=5)
    frame = ask_cases(engine_of(loaded), CASES, set_of("llama3", "text"), evaluate, "base")
    assert set(zip(frame["text"], frame["finish_reason"], strict=True)) == {("", "stop")}


def test_a_line_end_that_a_template_puts_before_an_answer_does_not_end_it(loaded, tmp_path):
    other = KINDS["smollm2"]()
    other.chat_template = other.chat_template.replace("assistant\n' }}", "assistant' }}")
    assert other.chat_template != loaded.tokenizer.chat_template
    case_set = set_of("smollm2", "text")
    case_set = case_set.model_copy(update={"ask": case_set.ask.model_copy(update={"stop": ["\n"]})})
    evaluate = Evaluate(scoring_method="generation", max_new_tokens=5)
    texts, same = (
        list(ask_cases(engine_of(one), CASES, case_set, evaluate, "base")["text"])
        for one in (loaded, loaded_of("smollm2", tmp_path, other))
    )
    assert same == texts
    assert any(texts)


def test_the_partial_input_is_the_same_conversation_with_the_other_inputs_empty(loaded, asked):
    evaluate = Evaluate(scoring_method="choices", settings=["partial_input"])
    engine, case_set = engine_of(loaded), set_of("smollm2")
    frame = ask_cases(engine, CASES[:1], case_set, evaluate, "base")
    other_settings(frame, engine, CASES[:1], CASES, case_set, evaluate, "base")
    assert asked[1] == asked[0].replace(CASES[0].inputs["premise"], "")


def test_examples_are_turns_behind_the_systems_and_stay_text(loaded, asked):
    solved = make_cases(
        ({"premise": text, "hypothesis": f"h {text}"}, label, ())
        for text, label in zip(["{premise}", "<|im_end|>", "p"], LABELS, strict=True)
    )
    evaluate = Evaluate(scoring_method="choices", few_shot=3)
    engine, case_set = engine_of(loaded), set_of("smollm2")
    frame = ask_cases(engine, CASES[:1], case_set, evaluate, "base")
    other_settings(frame, engine, CASES[:1], solved, case_set, evaluate, "base")
    system, user = asked[0].split("<|im_start|>user\n", 1)
    turns = "".join(
        f"<|im_start|>user\nPremise: {text}\nHypothesis: h {text}\nIs it true?<|im_end|>\n"
        f"<|im_start|>assistant\n{answer}<|im_end|>\n"
        for text, answer in zip(["{premise}", "<|im_end|>", "p"], CHAT_CHOICES.values(), strict=True)
    )
    assert asked[1] == f"{system}{turns}<|im_start|>user\n{user}"


def test_roles_alternate_where_a_template_asks_for_it(tmp_path):
    loaded = loaded_of("gemma2", tmp_path)
    evaluate = Evaluate(scoring_method="choices", few_shot=2)
    engine, case_set = engine_of(loaded), set_of("gemma2")
    frame = ask_cases(engine, CASES, case_set, evaluate, "base")
    found = other_settings(frame, engine, CASES, CASES, case_set, evaluate, "base")
    assert len(found["few_shot_log_probs"]) == len(CASES)


def test_another_template_gives_every_case_another_prompt_hash_and_environment(loaded, tmp_path):
    other = KINDS["smollm2"]()
    other.chat_template = other.chat_template.replace("<|im_end|>' + '\n'", "<|im_end|>'")
    engines = [engine_of(loaded), engine_of(loaded_of("smollm2", tmp_path, other))]
    frames = [ask_cases(engine, CASES, set_of("smollm2"), CHOOSE, "base") for engine in engines]
    assert not set(frames[0]["prompt_hash"]) & set(frames[1]["prompt_hash"])
    first, second = (engine.environment()["chat_template"] for engine in engines)
    assert first != second


def test_a_prompt_without_messages_names_no_chat_template(loaded):
    case_set = set_of("smollm2").model_copy(
        update={"prompt": Prompt(template="{premise}{hypothesis}", choices=CHAT_CHOICES)}
    )
    engine = engine_of(loaded)
    ask_cases(engine, CASES, case_set, CHOOSE, "base")
    assert "chat_template" not in engine.environment()


def test_a_template_that_spells_a_special_token_is_refused_before_any_case_is_asked(loaded, tmp_path):
    prompt = Prompt(template="<|im_start|>user\n{premise}{hypothesis}<|im_end|>", choices=CHAT_CHOICES)
    case_set = set_of("smollm2").model_copy(update={"prompt": prompt})
    model = loaded.section
    settings = PredictSettings(model=model, evaluate=CHOOSE, sets={HEADLINE: case_set})
    with pytest.raises(TunediffError, match=r"^params.yaml: prompt.template: found '<\|im_(start|end)\|>', which is a"):
        list(ask_sets(engine_of(loaded), dict.fromkeys([HEADLINE, VALIDATION], CASES), settings, "base"))


# Another chat template beside the tuned model


def adapter_with(loaded, folder, template=None, config=None):
    """The folder of an adapter, with a chat template beside it."""
    adapt = adapt_section("lora")
    save_tuned(adapt_model(loaded.model, adapt, 0), adapt, folder)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if config is not None:
        write_json(folder / "tokenizer_config.json", {"chat_template": config})
    return folder


@pytest.mark.parametrize("place", ["jinja", "config", "named"])
def test_an_adapter_with_another_chat_template_than_its_base_is_refused(place, tmp_path):
    loaded = loaded_of("smollm2", tmp_path)
    other = loaded.tokenizer.chat_template.replace("message['content']", "message['content'].upper()")
    texts = {"jinja": {"template": other}, "config": {"config": other}}
    texts["named"] = {"config": [{"name": "tool_use", "template": ""}, {"name": "default", "template": other}]}
    engine = engine_of(loaded).tuned(adapter_with(loaded, tmp_path / "tuned", **texts[place]))
    with pytest.raises(
        TunediffError, match=r"models/base and .*tuned/.*: their chat templates write different prompts"
    ):
        ask_cases(engine, CASES, set_of("smollm2"), CHOOSE, "tuned")
    raw = Prompt(template="{premise}{hypothesis}", choices=CHAT_CHOICES)
    ask_cases(engine, CASES, set_of("smollm2").model_copy(update={"prompt": raw}), CHOOSE, "tuned")


@pytest.mark.parametrize("beside", [True, False])
def test_an_adapter_with_the_same_chat_template_or_none_answers(beside, tmp_path):
    loaded = loaded_of("smollm2", tmp_path)
    base = ask_cases(engine_of(loaded), CASES, set_of("smollm2"), CHOOSE, "base")
    text = loaded.tokenizer.chat_template if beside else None
    engine = engine_of(loaded).tuned(adapter_with(loaded, tmp_path / "tuned", text))
    tuned = ask_cases(engine, CASES, set_of("smollm2"), CHOOSE, "tuned")
    assert tuned["prompt_hash"].tolist() == base["prompt_hash"].tolist()


def test_a_whole_tuned_model_with_another_chat_template_is_refused(tmp_path):
    loaded, other = loaded_of("smollm2", tmp_path), KINDS["smollm2"]()
    other.chat_template = other.chat_template.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n\n'")
    write_model(tmp_path / "whole", "llama", other, seed=3, max_position_embeddings=1024)
    (tmp_path / "tuned").mkdir()
    about = {"source": "folder", "form": "whole", "weights": str(tmp_path / "whole")}
    write_json(tmp_path / "tuned" / MANIFEST, about)
    engine = engine_of(loaded).tuned(tmp_path / "tuned")
    with pytest.raises(TunediffError, match="chat templates write different prompts"):
        ask_cases(engine, CASES, set_of("smollm2"), CHOOSE, "tuned")
