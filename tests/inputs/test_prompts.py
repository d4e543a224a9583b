"""What the model reads is what the template says: one BOS, no other special token, nothing lost unnoticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.questions import question
from tests.tiny import (
    CASE_SET,
    CASES,
    CHOICES,
    PROMPT,
    TASK,
    encoded_prompts,
    engine_of,
    small_bert_tokenizer,
    small_tokenizer,
)
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.cases import make_cases
from tunediff.engines.asking import ask_cases
from tunediff.engines.local import transformers_engine
from tunediff.inputs.prompts import answer_text, encode_cases, render
from tunediff.inputs.tokens import encode_text
from tunediff.models.load import Loaded
from tunediff.runtime.errors import TunediffError
from tunediff.training.targets import training_rows

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SPECIAL = ["</s>", "<s>", "<pad>", "<s></s><pad>", "a</s>b", "[SEP]", "[CLS] [MASK]"]
TOKENIZER = small_tokenizer()
BERT = small_bert_tokenizer()


def case(premise, hypothesis="", label="entailment"):
    return make_cases([({"premise": premise, "hypothesis": hypothesis}, label, ())])[0]


def read(tokenizer, cases, prompt, context=10_000, reserved=0):
    if prompt.choices is None:
        return encode_cases(tokenizer, cases, prompt, context)
    return encoded_prompts(tokenizer, cases, prompt, context, reserved)


def encoded(tokenizer, one, prompt=PROMPT, context=10_000):
    return read(tokenizer, [one], prompt, context)[0]


def error_of(cases, prompt, context=10_000, reserved=0, tokenizer=TOKENIZER):
    with pytest.raises(TunediffError) as caught:
        read(tokenizer, cases, prompt, context, reserved)
    [line] = caught.value.args
    assert "\n" not in line
    return line


# One BOS, no other special token


@given(TEXT, TEXT)
def test_any_text_is_read_whole_behind_one_bos_and_no_other_special_token(premise, hypothesis):
    tokens = encoded(TOKENIZER, case(premise, hypothesis)).tokens
    assert tokens[0] == TOKENIZER.bos_token_id
    assert not set(tokens[1:]) & set(TOKENIZER.all_special_ids)
    assert TOKENIZER.decode(tokens[1:]) == f"{premise}\n{hypothesis}\nTrue?"


@pytest.mark.parametrize("text", SPECIAL)
def test_a_special_token_that_a_case_spells_stays_text(text):
    tokens = encoded(TOKENIZER, case(f"{text} dogs", text)).tokens
    assert [token for token in tokens if token in TOKENIZER.all_special_ids] == [TOKENIZER.bos_token_id]
    pair = encoded(BERT, case(f"{text} dogs", text), Prompt()).tokens
    special = [BERT.cls_token_id, BERT.sep_token_id, BERT.sep_token_id]
    assert [token for token in pair if token in BERT.all_special_ids and token != BERT.unk_token_id] == special


def test_a_template_that_spells_a_bos_adds_none():
    tokens = encoded(TOKENIZER, case("dogs"), Prompt(template="<s>{premise}{hypothesis}", choices=CHOICES)).tokens
    assert tokens.count(TOKENIZER.bos_token_id) == 1


def test_a_tokenizer_that_puts_no_bos_before_a_text_gets_none():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # As GPT-2 and Phi: they name a BOS, and never use it.
    made = Tokenizer(models.BPE(vocab={"<|endoftext|>": 0, "d": 1, "o": 2}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    prompt = Prompt(template="{premise}{hypothesis}", choices=CHOICES)
    assert encoded(plain, case("do<|endoftext|>"), prompt).tokens[:2] == [1, 2]
    assert 0 not in encoded(plain, case("do<|endoftext|>"), prompt).tokens


def test_braces_in_a_case_stay_text():
    assert (
        render("{premise}: {hypothesis}", {"premise": "{hypothesis}", "hypothesis": "{0} {"}) == "{hypothesis}: {0} {"
    )
    one = case("{hypothesis} {{x}}", "{premise}")
    assert TOKENIZER.decode(encoded(TOKENIZER, one).tokens[1:]) == "{hypothesis} {{x}}\n{premise}\nTrue?"


# Training reads what evaluation reads


def test_training_and_evaluation_read_the_same_tokens(monkeypatch):
    import torch

    loaded = Loaded(None, TOKENIZER, 1000, 0, None, [])
    seen = []
    monkeypatch.setattr(
        transformers_engine, "score_choices", lambda model, prompts, *_: seen.extend(prompts) or torch.zeros(8, 3)
    )
    ask_cases(engine_of(loaded), CASES, CASE_SET, Evaluate(scoring_method="choices"), "base")
    rows = training_rows(loaded, CASES, TASK.labels, PROMPT, "lm")
    for prompt, (tokens, targets), one in zip(seen, rows, CASES, strict=True):
        answer = encode_text(TOKENIZER, CHOICES[one.label])
        assert tokens == [*prompt, *answer, TOKENIZER.eos_token_id]
        assert targets == len(answer) + 1


@pytest.mark.parametrize(
    ("prompt", "one", "expected"),
    [
        (PROMPT, case("a", label="neutral"), CHOICES["neutral"]),
        (Prompt(template="{question}"), question(0, "Who?", "A  cat\n runs.", "A  cat\n"), " A cat"),
        (Prompt(template="{question}\n"), question(0, "Who?", "A cat.", "cat", "A cat"), "cat"),
        (Prompt(template="{question}"), question(0, "Who?", "A cat."), " unanswerable"),
        (Prompt(template="{premise}"), case("a", label="very\ngood"), " very good"),
    ],
    ids=["choice", "one line", "the first", "no answer", "label"],
)
def test_what_is_learned_is_the_choice_or_the_first_answer_or_the_label(prompt, one, expected):
    assert answer_text(one, prompt) == expected


def test_the_hash_follows_what_is_read_and_not_the_answer():
    one = encoded(TOKENIZER, case("dogs", "cats"))
    assert encoded(TOKENIZER, case("dogs", "cats", "neutral")).prompt_hash == one.prompt_hash
    others = [
        encoded(TOKENIZER, case("cats", "dogs")),
        encoded(TOKENIZER, case("dogs", "cats"), Prompt(template="{premise} {hypothesis}", choices=CHOICES)),
        encoded(TOKENIZER, case("dogs", "cats"), Prompt(template=PROMPT.template, choices=CHOICES | {"neutral": " ?"})),
    ]
    assert len({one.prompt_hash, *(other.prompt_hash for other in others)}) == 4


SHORT = st.text("ab \n", min_size=1, max_size=3)
PROMPTS = st.builds(
    Prompt,
    template=st.sampled_from(["{premise}{hypothesis}", "{hypothesis}{premise}", "{premise} {hypothesis}"]),
    choices=st.dictionaries(st.sampled_from(["yes", "no", "label 1", "label 2"]), SHORT, min_size=2, max_size=2),
    max_tokens=st.sampled_from([None, 64, 512]),
    too_long=st.sampled_from(["refuse", "truncate"]),
    doc_stride=st.integers(0, 128),
)


@given(SHORT, SHORT, PROMPTS, SHORT, SHORT, PROMPTS)
def test_two_hashes_are_the_same_where_the_model_reads_the_same_and_nowhere_else(a, b, prompt, c, d, other):
    one, two = encoded(TOKENIZER, case(a, b), prompt), encoded(TOKENIZER, case(c, d), other)
    scored = [sorted(some.choices.values()) for some in (prompt, other)]
    same = one.tokens == two.tokens and scored[0] == scored[1]
    assert (one.prompt_hash == two.prompt_hash) == same


def test_a_head_reads_its_inputs_one_by_one_and_no_name_of_them():
    hashes = [encoded(BERT, case(*texts), Prompt()).prompt_hash for texts in [("a b", "c"), ("a", "b c")]]
    assert len(set(hashes)) == 2
    named = make_cases([({"text": "a b", "other": "c"}, "yes", ())])[0]
    assert encoded(BERT, named, Prompt(max_tokens=99, doc_stride=7)).prompt_hash == hashes[0]


# Heads read the tokenizer's own form


def test_a_head_reads_the_pair_as_the_tokenizer_writes_it():
    one = encoded(BERT, case("two dogs", "a man"), Prompt())
    assert BERT.convert_ids_to_tokens(one.tokens) == ["[CLS]", "two", "dogs", "[SEP]", "a", "man", "[SEP]"]
    assert one.token_types == [0, 0, 0, 0, 1, 1, 1]


def test_a_template_for_a_head_keeps_the_special_tokens():
    prompt = Prompt(template="{premise} is {hypothesis}")
    one = encoded(BERT, case("two dogs", "a man"), prompt)
    assert BERT.convert_ids_to_tokens(one.tokens) == ["[CLS]", "two", "dogs", "is", "a", "man", "[SEP]"]
    tokens = encoded(TOKENIZER, case("two dogs", "a man"), prompt).tokens
    assert tokens == [TOKENIZER.bos_token_id, *encode_text(TOKENIZER, "two dogs is a man")]


def test_inputs_that_a_tokenizer_cannot_put_side_by_side_need_a_template():
    line = error_of([case("two dogs", "a man")], Prompt())
    assert line.startswith("params.yaml: prompt.template: missing")
    assert "2 inputs; expected a text with {premise}, {hypothesis}" in line
    three = make_cases([({"a": "two", "b": "dogs", "c": "man"}, "entailment", ())])
    assert "3 inputs; expected a text with {a}, {b}, {c}" in error_of(three, Prompt(), tokenizer=BERT)
    alone = make_cases([({"a": "two dogs"}, "entailment", ())])
    assert encode_cases(TOKENIZER, alone, Prompt(), 100)[0].tokens[0] == TOKENIZER.bos_token_id


# Too long


def test_inputs_that_are_too_long_are_refused_with_the_longest_case_and_the_room():
    cases = [case("x" * 5), case("x" * 40), case("x" * 30)]
    n = len(encoded(TOKENIZER, cases[1]).tokens)
    line = error_of(cases, PROMPT, context=30, reserved=4)
    assert line.startswith(f"case {cases[1].case_id}: found {n} tokens, the longest of 2 too long cases among 3,")
    assert "expected at most 26" in line


def test_the_smaller_of_context_and_max_tokens_holds():
    one = case("x" * 40)
    n = len(encoded(TOKENIZER, one).tokens)
    prompt = Prompt(template=PROMPT.template, choices=CHOICES, max_tokens=n)
    assert encoded(TOKENIZER, one, prompt, context=n).tokens
    assert f"expected at most {n - 1} " in error_of([one], prompt, context=n, reserved=1)
    assert f"expected at most {n - 2} " in error_of([one], prompt, context=n - 2)


def cutting(**keys):
    return Prompt(template=PROMPT.template, choices=CHOICES, too_long="truncate", **keys)


def test_truncation_cuts_the_longest_input_and_says_so():
    short, long = case("two dogs", "a man"), case("x" * 60, "a man")
    room = 30
    first, second = encoded_prompts(TOKENIZER, [short, long], cutting(), room)
    assert (first.truncated, second.truncated) == (False, True)
    assert first.tokens == encoded(TOKENIZER, short).tokens
    assert len(second.tokens) == room
    read = TOKENIZER.decode(second.tokens[1:])
    assert read.endswith("\na man\nTrue?")
    assert set(read.removesuffix("\na man\nTrue?")) == {"x"}


@given(TEXT, TEXT, st.integers(12, 40))
def test_truncation_fits_loses_no_more_than_it_must_and_keeps_the_template(premise, hypothesis, room):
    one = case(premise, hypothesis)
    found, whole = encoded(TOKENIZER, one, cutting(), room), encoded(TOKENIZER, one)
    assert found.truncated == (len(whole.tokens) > room)
    assert len(found.tokens) <= room
    if not found.truncated:
        assert found == whole
        return
    assert found.prompt_hash != whole.prompt_hash
    assert TOKENIZER.decode(found.tokens).endswith("\nTrue?")
    # No character is more than four bytes, so with one character more of both inputs it would not have fitted.
    assert len(found.tokens) > room - 8


def test_a_template_longer_than_the_room_is_refused_even_where_cutting_is_allowed():
    line = error_of([case("two dogs", "a man")], cutting(), context=6)
    assert "tokens besides the inputs, expected from 1 to 6" in line


def test_a_prompt_without_a_token_is_refused():
    one = make_cases([({"text": ""}, "entailment", ())])
    tokenizer = small_bert_tokenizer()
    line = error_of(one, Prompt(template="{text}", choices=CHOICES), tokenizer=tokenizer)
    assert line.startswith(f"case {one[0].case_id}: found 0 tokens, expected from 1")
