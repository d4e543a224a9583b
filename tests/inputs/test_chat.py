"""A chat prompt is what transformers' apply_chat_template writes, and an answer stands where the model is asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chats import GEMMA2, KINDS, NO_SYSTEM, PLAIN, SMOLLM2, chat_prompt, turn_ends
from tests.refusals import line_of
from tests.tiny import CASES, small_tokenizer
from tunediff.inputs.chat import Chat, Template, check_spelling, template_of
from tunediff.inputs.tokens import MARK, control_tokens, encode_prompts, tokenize

TOKENIZERS = {kind: make() for kind, make in KINDS.items()}
INPUTS = [case.inputs for case in CASES]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SPELLED = ["<|im_start|>", "<|im_end|>", "</s>", "<s>", "[/INST]", "<start_of_turn>", "<bos>", "<|eot_id|>", "<think>"]


def chat_of(kind, others=(), tokenizer=None, **keys):
    return Chat(template_of(tokenizer or TOKENIZERS[kind], "models/base"), chat_prompt(kind, **keys), others)


def changed(kind, old, new):
    """The tokenizer of a kind with another template."""
    tokenizer = KINDS[kind]()
    assert old in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
    return tokenizer


# What a model reads


@given(st.sampled_from(PLAIN), TEXT, TEXT)
def test_the_tokens_of_a_prompt_are_those_of_transformers(kind, premise, hypothesis):
    chat = chat_of(kind)
    one = {"premise": premise, "hypothesis": hypothesis}
    [tokens] = encode_prompts(TOKENIZERS[kind], chat.prompts([one]))
    if not any(text in premise + hypothesis for text in control_tokens(TOKENIZERS[kind])):
        assert tokens == chat.tokens(chat.conversation(one), generation=True)


@given(st.sampled_from(PLAIN), st.lists(st.one_of(st.sampled_from(SPELLED), TEXT), max_size=5))
def test_a_case_adds_no_control_token_whatever_it_spells(kind, parts):
    tokenizer, chat = TOKENIZERS[kind], chat_of(kind)
    control = set(tokenizer.convert_tokens_to_ids(control_tokens(tokenizer)))
    rows = encode_prompts(
        tokenizer, chat.prompts([{"premise": text, "hypothesis": "a"} for text in ("a", "a" + "".join(parts) + "a")])
    )
    plain, spelled = ([token for token in row if token in control - {tokenizer.unk_token_id}] for row in rows)
    assert spelled == plain
    assert "".join("".join(parts).split()) in "".join(str(tokenizer.decode(rows[1])).split())


@pytest.mark.parametrize("kind", PLAIN)
def test_there_is_one_bos_where_the_template_writes_one_and_else_none(kind):
    tokenizer = TOKENIZERS[kind]
    rows = encode_prompts(tokenizer, chat_of(kind).prompts(INPUTS))
    written = "bos_token" in tokenizer.chat_template
    bos = None if kind == "smollm2" else tokenizer.bos_token_id  # SmolLM2 calls <|im_start|> its BOS
    assert {row.count(bos) for row in rows} == {int(written)}


def test_braces_and_markup_of_jinja_in_a_case_stay_text():
    one = {"premise": "{hypothesis} {{ bos_token }} {% for %}", "hypothesis": "{# no #}"}
    [text] = chat_of("smollm2").prompts([one])
    assert "Premise: {hypothesis} {{ bos_token }} {% for %}\nHypothesis: {# no #}\n" in text


def test_thinking_is_off_unless_the_experiment_says_otherwise():
    assert chat_of("qwen3").prompts(INPUTS)[0].endswith(f"{MARK}<think>\n\n{MARK}</think>\n\n")
    thinking = chat_of("qwen3", chat_template_kwargs={"enable_thinking": True})
    assert thinking.prompts(INPUTS)[0].endswith("assistant\n")


def test_values_of_the_experiment_reach_the_template():
    chat = chat_of("llama32", chat_template_kwargs={"date_string": "1 Jan 2025"})
    assert "Today Date: 1 Jan 2025\n\nAnswer in a word." in chat.prompts(INPUTS)[0]


# Where the answer stands


@given(st.sampled_from(PLAIN), TEXT, st.sampled_from(["yes", "no", "a b", "<|im_end|>", "é\nx"]))
def test_prompt_answer_and_end_are_the_whole_conversation(kind, premise, answer):
    chat, tokenizer = chat_of(kind), TOKENIZERS[kind]
    one = {"premise": premise, "hypothesis": "h"}
    [prompt], [turn] = chat.prompts([one]), chat.turns([one], [answer])
    assert turn.answer.strip() == answer
    assert turn.end.count(MARK) == 1
    if any(text in premise + answer for text in control_tokens(tokenizer)):
        return
    whole = chat.tokens([*chat.conversation(one), {"role": "assistant", "content": answer}], generation=False)
    [row] = tokenize(tokenizer, [prompt + turn.answer + turn.end])
    assert row == whole[: len(row)]
    assert not str(tokenizer.decode(whole[len(row) :])).strip()


@pytest.mark.parametrize(
    ("kind", "end"),
    [("smollm2", "<|im_end|>"), ("llama3", "<|eot_id|>"), ("gemma2", "<end_of_turn>"), ("llama2", "</s>")],
)
def test_a_turn_ends_with_the_templates_own_token(kind, end):
    assert turn_ends(TOKENIZERS[kind], chat_prompt(kind)) == [TOKENIZERS[kind].convert_tokens_to_ids(end)]


def test_a_template_that_cannot_be_used_ends_no_turn():
    assert turn_ends(TOKENIZERS["r1"], chat_prompt("r1")) == []


def test_a_template_that_needs_a_value_ends_the_turn_with_it():
    tokenizer = KINDS["smollm2"]()
    tokenizer.chat_template = "{% if not tone %}{{ raise_exception('no tone') }}{% endif %}" + tokenizer.chat_template
    prompt = chat_prompt("smollm2", chat_template_kwargs={"tone": "kind"})
    assert turn_ends(tokenizer, prompt) == [tokenizer.convert_tokens_to_ids("<|im_end|>")]


def test_the_blank_that_a_template_puts_before_an_answer_is_a_part_of_it():
    assert chat_of("llama2").turns(INPUTS[:1], ["yes"]) == [(" yes", f" {MARK}</s>")]


# What is refused, in one line


def test_a_model_without_a_chat_template_is_refused():
    line = line_of(lambda: template_of(small_tokenizer(), "models/base"))
    assert line.startswith("params.yaml: prompt.messages: given, but models/base has no chat template")


def test_several_templates_of_which_none_is_the_default_are_refused():
    tokenizer = KINDS["smollm2"]()
    tokenizer.chat_template = {"tool_use": SMOLLM2, "rag": SMOLLM2}
    assert "multiple chat templates with no default" in line_of(lambda: template_of(tokenizer, "models/base"))
    tokenizer.chat_template = {"tool_use": GEMMA2, "default": SMOLLM2}
    assert template_of(tokenizer, "models/base").text == SMOLLM2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("gemma2", "System role not supported"), ("mistral", "Conversation roles must alternate")],
)
def test_a_role_that_the_template_refuses_is_told_in_its_own_words(kind, reason):
    assert kind in NO_SYSTEM
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{premise} {hypothesis}"}]
    line = line_of(lambda: chat_of(kind, messages=messages).prompts(INPUTS))
    assert line.startswith(f"models/base: the chat template refuses prompt.messages: {reason}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0]['content'] }",
        "{{ messages[9]['content']['x'] }}",
        "{{ 1 / 0 }}",
        "{{ messages.__class__.__mro__ }}{{ ''.__class__.__subclasses__() }}",
    ],
)
def test_a_template_that_fails_or_leaves_its_sandbox_is_refused(template):
    tokenizer = KINDS["smollm2"]()
    tokenizer.chat_template = template
    assert line_of(lambda: chat_of("smollm2", tokenizer=tokenizer).prompts(INPUTS)).startswith("models/base: the chat")


def test_the_date_of_the_day_is_refused():
    line = line_of(lambda: chat_of("llama32").prompts(INPUTS))
    assert line.startswith("models/base: the chat template writes the current date")
    assert "{date_string:" in line


def test_bos_twice_is_refused():
    twice = changed("gemma2", "{{ bos_token }}", "{{ bos_token }}{{ bos_token }}")
    line = line_of(lambda: chat_of("gemma2", tokenizer=twice).prompts(INPUTS))
    assert line == "models/base: the chat template writes BOS twice (<bos><bos>), expected it once"


def test_a_missing_generation_prompt_is_refused():
    without = changed("smollm2", "{% if add_generation_prompt %}", "{% if false %}")
    line = line_of(lambda: chat_of("smollm2", tokenizer=without).turns(INPUTS[:1], ["yes"]))
    assert "writes '<|im_start|>assistant\\nyes<|im_end|>\\n' where the answer is known, and nothing where" in line
    assert "add_generation_prompt" in line


def test_a_thinking_block_on_one_side_alone_is_refused():
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    line = line_of(lambda: chat_of("qwen3", **thinking).turns(INPUTS[:1], ["yes"]))
    assert "only one of them has a thinking block" in line
    assert "prompt.chat_template_kwargs" in line
    assert "a thinking block" in line_of(lambda: chat_of("r1").turns(INPUTS[:1], ["yes"]))


def test_blanks_behind_the_generation_prompt_that_no_answer_follows_are_refused():
    blank = changed("smollm2", "'<|im_start|>assistant\n'", "'<|im_start|>assistant\n '")
    line = line_of(lambda: chat_of("smollm2", tokenizer=blank).turns(INPUTS[:1], ["yes"]))
    assert "writes 'yes<|im_end|>\\n' where the answer is known, and ' ' where it is to be generated" in line


def test_another_template_that_writes_another_prompt_is_refused():
    other = Template("models/tuned/chat_template.jinja", TOKENIZERS["smollm2"], SMOLLM2.replace("named SmolLM", "X"))
    messages = [{"role": "user", "content": "{premise} {hypothesis}"}]
    line = line_of(lambda: chat_of("smollm2", [other], messages=messages).prompts(INPUTS))
    assert line.startswith("models/base and models/tuned/chat_template.jinja: their chat templates write different")
    assert "'named SmolLM" in line
    # The messages have a system turn: both templates write the same.
    assert chat_of("smollm2", [other]).prompts(INPUTS) == chat_of("smollm2").prompts(INPUTS)


@pytest.mark.parametrize(
    ("prompt", "key", "hint"),
    [
        (
            chat_prompt().model_copy(update={"messages": None, "template": "<|im_start|>{premise}"}),
            "template",
            "or prompt",
        ),
        (
            chat_prompt(messages=[{"role": "user", "content": "{premise}<|im_end|>"}]),
            "messages",
            "places special tokens",
        ),
    ],
)
def test_a_special_token_that_params_spells_is_refused_with_a_hint(prompt, key, hint):
    line = line_of(lambda: check_spelling(TOKENIZERS["smollm2"], prompt))
    assert line.startswith(f"params.yaml: prompt.{key}: found '<|im_")
    assert hint in line
