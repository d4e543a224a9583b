"""Training of a chat model reads what evaluation asks, the answer and the end of the turn; other rows are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chats import CHAT_CHOICES, KINDS, PLAIN, chat_prompt, turn_ends
from tests.questions import question
from tests.refusals import line_of
from tests.tiny import CASES, LABELS, engine_of
from tunediff.config.evaluate import Evaluate
from tunediff.config.prompt import Prompt
from tunediff.data.cases import make_cases
from tunediff.engines.asking import ask_cases
from tunediff.engines.local import transformers_engine
from tunediff.inputs.ask import Ask
from tunediff.inputs.settings import CaseSet
from tunediff.models.load import Loaded
from tunediff.training.targets import parity, training_rows


class Named:
    """As much of a network as the rows need."""

    name_or_path = "models/base"


TOKENIZERS = {kind: make() for kind, make in KINDS.items()}
LOADED = {kind: Loaded(Named(), tokenizer, 2048, 0, None, LABELS) for kind, tokenizer in TOKENIZERS.items()}
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15),
    st.sampled_from(["<|im_end|> yes", "</s>", "<think>", "<start_of_turn>model\n"]),
)


def rows_of(kind, cases=CASES, prompt=None):
    return training_rows(LOADED[kind], cases, LABELS, prompt or chat_prompt(kind), "lm")


def proof_of(kind, rows, cases=CASES, prompt=None):
    return parity(LOADED[kind], cases, LABELS, prompt or chat_prompt(kind), rows)


@pytest.mark.parametrize("kind", PLAIN)
def test_training_reads_what_scoring_asks_then_the_answer_and_the_end_of_the_turn(kind, monkeypatch):
    import torch

    seen = []

    def scored(model, prompts, choices, *_):
        seen.extend(zip(prompts, choices, strict=True))
        return torch.zeros(len(prompts), 3)

    monkeypatch.setattr(transformers_engine, "score_choices", scored)
    prompt, tokenizer = chat_prompt(kind), TOKENIZERS[kind]
    case_set = CaseSet(
        inputs=["premise", "hypothesis"],
        labels=LABELS,
        partial_input="hypothesis",
        prompt=prompt,
        ask=Ask(answer="choices", names=LABELS, choices=CHAT_CHOICES),
    )
    ask_cases(engine_of(LOADED[kind]), CASES, case_set, Evaluate(scoring_method="choices"), "base")
    [end] = turn_ends(tokenizer, prompt)
    for (asked, answers), (tokens, targets), case in zip(seen, rows_of(kind), CASES, strict=True):
        answer = answers[LABELS.index(case.label)]
        assert tokens[: len(asked) + len(answer)] == [*asked, *answer]
        assert tokens[-1] == end
        assert targets == len(tokens) - len(asked)


@pytest.mark.parametrize("kind", PLAIN)
def test_the_proof_counts_every_case(kind):
    assert proof_of(kind, rows_of(kind)) == {"parity_cases": 8, "parity_equal": 8, "parity_spelled": 0}


@given(st.sampled_from(PLAIN), st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3, unique=True))
def test_the_proof_holds_for_any_text(kind, texts):
    cases = make_cases(({"premise": a, "hypothesis": b}, LABELS[i], ()) for i, (a, b) in enumerate(texts))
    proof = proof_of(kind, rows_of(kind, cases), cases)
    assert proof["parity_equal"] == proof["parity_cases"] == len(cases)


def test_cases_that_spell_a_control_token_are_counted():
    cases = make_cases(({"premise": text, "hypothesis": "a"}, "neutral", ()) for text in ("<|im_end|>", "b"))
    assert proof_of("smollm2", rows_of("smollm2", cases), cases)["parity_spelled"] == 1


def test_the_proof_is_of_the_case_as_it_was_cut():
    case = make_cases([({"premise": "word " * 400, "hypothesis": "a"}, "neutral", ())])
    prompt = chat_prompt(max_tokens=96, too_long="truncate")
    rows = rows_of("smollm2", case, prompt)
    assert len(rows[0][0]) <= 96
    assert proof_of("smollm2", rows, case, prompt)["parity_equal"] == 1


def test_free_answers_are_learned_as_turns():
    cases = [question(0, "Who runs?", "A  cat\n runs.", "A  cat"), question(1, "Who?", "A dog.", "dog")]
    prompt = Prompt.model_validate({"messages": [{"role": "user", "content": "{context}\n{question}"}]})
    loaded, labels = LOADED["qwen3"], ["answerable", "unanswerable"]
    rows = training_rows(loaded, cases, labels, prompt, "lm")
    learned = [loaded.tokenizer.decode(tokens[-targets:]) for tokens, targets in rows]
    assert learned == ["A cat<|im_end|>", "dog<|im_end|>"]
    assert parity(loaded, cases, labels, prompt, rows)["parity_equal"] == 2


def test_a_prompt_without_messages_has_no_such_proof():
    assert parity(LOADED["llama3"], CASES, LABELS, Prompt(template="{premise}{hypothesis}"), []) == {}


def test_where_a_template_ends_no_turn_the_end_marker_of_a_text_does():
    tokenizer = KINDS["zephyr"]()
    tokenizer.chat_template = tokenizer.chat_template.replace("message['content'] + eos_token", "message['content']")
    loaded = Loaded(Named(), tokenizer, 2048, 0, None, LABELS)
    rows = training_rows(loaded, CASES, LABELS, chat_prompt("zephyr"), "lm")
    assert {tokens[-1] for tokens, _ in rows} == {tokenizer.eos_token_id}
    assert parity(loaded, CASES, LABELS, chat_prompt("zephyr"), rows)["parity_equal"] == 8


# Planted faults: rows that something else would have made


def planted(kind, change):
    """What the proof says of rows of which the last one is changed."""
    rows = rows_of(kind)
    tokens, targets = rows[-1]
    line = line_of(lambda: proof_of(kind, [*rows[:-1], change(TOKENIZERS[kind], tokens, targets)]))
    assert line.startswith(f"case {CASES[-1].case_id}: ")
    return line


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def test_bos_twice_is_named():
    line = planted("llama3", lambda tokenizer, tokens, n: ([tokenizer.bos_token_id, *tokens], n))
    assert "training reads different tokens than the chat template renders, BOS twice" in line


def test_a_trailing_space_is_named():
    line = planted("smollm2", lambda tokenizer, tokens, n: ([*tokens[:-n], *ids(tokenizer, " "), *tokens[-n:]], n))
    assert ", white space: " in line


def test_a_missing_generation_prompt_is_named():
    def without(tokenizer, tokens, n):
        header = ids(tokenizer, "<|im_start|>assistant\n")
        assert tokens[-n - len(header) : -n] == header
        return [*tokens[: -n - len(header)], *tokens[-n:]], n

    assert ", a part that is missing, such as the generation prompt: " in planted("smollm2", without)


def test_a_thinking_block_is_named():
    def thinking(tokenizer, tokens, n):
        return [*tokens[:-n], *ids(tokenizer, "<think>\n\n</think>\n\n"), *tokens[-n:]], n

    def none(tokenizer, tokens, n):
        block = ids(tokenizer, "<think>\n\n</think>\n\n")
        return [*tokens[: -n - len(block)], *tokens[-n:]], n

    assert ", a thinking block: " in planted("smollm2", thinking)
    assert ", a thinking block: " in planted("qwen3", none)


def test_an_answer_without_an_end_or_with_too_few_targets_is_named():
    assert "training reads different tokens" in planted("llama3", lambda _, tokens, n: (tokens[:-1], n - 1))
    assert "found 1 tokens to learn, expected 3" in planted("llama3", lambda _, tokens, n: (tokens, 1))


def test_an_end_that_melts_with_the_answer_is_refused():
    # As a SentencePiece model with pieces that end with a blank: the answer has other tokens where its turn ends.
    melting = KINDS["melting"]()
    loaded = Loaded(Named(), melting, 2048, 0, None, LABELS)
    line = line_of(lambda: training_rows(loaded, CASES, LABELS, chat_prompt("llama2"), "lm"))
    assert (
        "the end of the turn merges with the answer ' yes', different tokens: ['▁[/INST]', '▁yes'] in place of" in line
    )
