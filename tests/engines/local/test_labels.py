"""A classification head gives a case the same probabilities in any batch."""

import pytest
import torch

from tests.tiny import CASES, small_bert_tokenizer, small_model, small_tokenizer
from tunediff.config.prompt import Prompt
from tunediff.engines.local.labels import classify
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.prompts import encode_cases

BERT, BPE = small_bert_tokenizer(), small_tokenizer()
PAIR, TEXT = Prompt(), Prompt(template="{premise} {hypothesis}")


def made(name):
    """Model, encoded cases and padding id; BERT reads a pair, the others pool at the last token."""
    tokenizer, prompt = (BERT, PAIR) if name == "bert" else (BPE, TEXT)
    model = small_model(name, tokenizer, "classification", num_labels=3)
    return model, encode_cases(tokenizer, CASES, prompt, 64), tokenizer.pad_token_id


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("budget", [80, 10_000])
def test_padding_does_not_change_the_probabilities(name, budget):
    model, encoded, pad = made(name)
    alone = torch.stack([model(**pad_rows([one], pad)).logits[0].double().log_softmax(-1) for one in encoded])
    found = classify(model, encoded, pad, budget, "test")
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(len(encoded), dtype=torch.float64))
    assert found.std(0).min() > 1e-3, "the cases must differ"


def test_the_order_of_the_cases_does_not_matter():
    model, encoded, pad = made("bert")
    order = [3, 0, 7, 2, 5, 1, 6, 4]
    found = classify(model, encoded, pad, 60, "test")
    assert torch.equal(found[order], classify(model, [encoded[i] for i in order], pad, 60, "test"))


def test_both_halves_of_a_pair_reach_bert():
    rows = pad_rows(encode_cases(BERT, CASES[:2], PAIR, 64), 0)
    assert set(rows) == {"input_ids", "attention_mask", "token_type_ids"}
    assert rows["token_type_ids"].max() == 1
    assert torch.equal(rows["attention_mask"].sum(1), (rows["input_ids"] != 0).sum(1))
    # The type of the padding is that of no text.
    assert rows["token_type_ids"][rows["attention_mask"] == 0].sum() == 0


def test_the_second_half_of_a_pair_counts():
    model, encoded, pad = made("bert")
    swapped = encode_cases(
        BERT,
        [
            type(case)(case.case_id, {"premise": case.inputs["hypothesis"], "hypothesis": case.inputs["premise"]}, "")
            for case in CASES
        ],
        PAIR,
        64,
    )
    found, other = (classify(model, rows, pad, 1000, "test") for rows in (encoded, swapped))
    same = [case.inputs["premise"] == case.inputs["hypothesis"] for case in CASES]
    assert [bool((a - b).abs().max() < 1e-6) for a, b in zip(found, other, strict=True)] == same
