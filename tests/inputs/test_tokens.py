"""A control token is one that the template wrote; what a case spells stays text; the text of a chat is read whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chats import KINDS
from tests.tiny import small_tokenizer
from tunediff.inputs.tokens import CHAT, MARK, beginnings, control_tokens, encode_prompts, encode_text, tokenize

TOKENIZERS = {kind: KINDS[kind]() for kind in ("smollm2", "llama3", "gemma2", "llama2", "qwen3")}
RAW = small_tokenizer()


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_token_with_a_mark_is_that_token_and_the_same_letters_without_are_letters(kind):
    tokenizer = TOKENIZERS[kind]
    for token in control_tokens(tokenizer):
        known = tokenizer.convert_tokens_to_ids(token)
        [row] = tokenize(tokenizer, [f"{CHAT}It says {token}: {MARK}{token} yes"])
        assert row.count(known) == 1
        assert tokenizer.decode(row).replace(" ", "") == f"Itsays{token}:{token}yes"


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_without_spelled_tokens_the_text_of_a_chat_is_what_the_tokenizer_itself_reads(kind):
    tokenizer = TOKENIZERS[kind]
    first, *_, last = control_tokens(tokenizer)
    text = f"{MARK}{first}user\n Is it true? {MARK}{last}\n\nyes  no {MARK}{first}"
    expected = tokenizer(text.replace(MARK, ""), add_special_tokens=False).input_ids
    assert encode_prompts(tokenizer, [CHAT + text]) == [expected]


@given(st.lists(st.sampled_from(["<|im_start|>", "<|im_end|>", "<think>", "a", " b\n", "<", "|>", "é"]), max_size=8))
def test_any_text_of_a_chat_is_read_whole(parts):
    tokenizer = TOKENIZERS["qwen3"]
    [row] = tokenize(tokenizer, [CHAT + "".join(parts)])
    assert tokenizer.decode(row) == "".join(parts)
    assert not set(row) & set(tokenizer.convert_tokens_to_ids(control_tokens(tokenizer)))


def test_the_text_of_a_chat_has_no_bos_put_before_it_and_any_other_has():
    chat, raw = beginnings(TOKENIZERS["llama3"], [f"{CHAT}yes", "yes"])
    assert (chat, raw) == ([], [TOKENIZERS["llama3"].bos_token_id])


def test_control_tokens_are_the_special_ones_and_those_that_the_template_writes():
    assert control_tokens(TOKENIZERS["qwen3"]) == [
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "</think>", "<think>")
    ]
    other = KINDS["qwen3"]()
    other.chat_template = "{{ messages[0].content }}"
    assert "<think>" not in control_tokens(other)


def test_a_text_that_is_of_no_chat_is_read_as_ever():
    assert encode_text(RAW, "yes</s>") == RAW("yes</s>", add_special_tokens=False, split_special_tokens=True).input_ids
    texts = ["yes", "no", "yes"]
    assert encode_prompts(RAW, texts) == [[RAW.bos_token_id, *encode_text(RAW, text)] for text in texts]
