"""The tokens of an answer are those of the whole text behind the prompt, for tokenizers of every family."""

import json
import random
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaTokenizer, PreTrainedTokenizerFast

from tests.tiny import small_bert_tokenizer, small_config, small_tokenizer
from tunediff.engines.local.choices import score_choices
from tunediff.engines.local.generate import generate
from tunediff.inputs.joins import join, stems, unusual_joins
from tunediff.models.load import read_tokenizer
from tunediff.runtime.errors import TunediffError

GOOD, BAD = ["good", "fine", "great", "nice"], ["bad", "poor", "awful", "sad"]
TEXTS = [
    *(f"Word: {word}\nAnswer:\n{'yes' if word in GOOD else 'no'}" for word in GOOD + BAD),
    *(f"Word: {word}\nAnswer: {'yes' if word in GOOD else 'no'}" for word in GOOD + BAD),
    *["he said no then yes", "say yes or no", "no yes no", "yes no yes", "(A) yes. (B) no!", "1 2 12 21"],
]
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{number:02X}>" for number in range(256)]


def wrapped(backend, folder):
    """A tokenizer as a model's folder holds it, with a BOS before a text."""
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.save_pretrained(folder)
    return read_tokenizer(folder)


def bpe(folder, pre_tokenizer=None, decoder=None, **keys):
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        backend.decoder = decoder
    backend.train_from_iterator(
        TEXTS * 20, trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL + BYTES, show_progress=False, **keys)
    )
    return wrapped(backend, folder)


def byte_level(folder):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return bpe(
        folder, pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel(), initial_alphabet=alphabet
    )


def metaspace(scheme):
    return lambda folder: bpe(
        folder, pre_tokenizers.Metaspace(prepend_scheme=scheme), decoders.Metaspace(prepend_scheme=scheme)
    )


def prepended(folder):
    """As the tokenizer.json of Llama 2, Mistral 7B v0.1 and Phi-3 mini has it, and transformers 5 loads it."""
    learned = bpe(folder / "learned", pre_tokenizers.Metaspace(prepend_scheme="always")).backend_tokenizer
    backend = Tokenizer(learned.model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    wrapped(backend, folder)
    settings_file = folder / "tokenizer_config.json"
    settings_file.write_text(json.dumps(json.loads(settings_file.read_text()) | {"tokenizer_class": "LlamaTokenizer"}))
    return read_tokenizer(folder)


def sentence_pieces(add_prefix_space):
    def make(folder):
        """Llama's tokenizer class."""
        learned = bpe(
            folder / "learned",
            pre_tokenizers.Sequence(
                [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first")]
            ),
        )
        model = json.loads(learned.backend_tokenizer.to_str())["model"]
        for piece in ("yes", "no", "\n"):
            model["vocab"].setdefault(piece, len(model["vocab"]))
        made = LlamaTokenizer(
            vocab=model["vocab"],
            merges=[tuple(pair) for pair in model["merges"]],
            legacy=False,
            add_prefix_space=add_prefix_space,
        )
        made.add_bos_token = True
        made.save_pretrained(folder)
        return read_tokenizer(folder)

    return make


def unigram(folder):
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        TEXTS * 20,
        trainers.UnigramTrainer(vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False),
    )
    return wrapped(backend, folder)


FAMILIES = {
    "byte-level": byte_level,
    "metaspace first": metaspace("first"),
    "metaspace always": metaspace("always"),
    "metaspace never": metaspace("never"),
    "no pre-tokenizer": bpe,
    "prepend": prepended,
    "sentence pieces": sentence_pieces(True),
    "sentence pieces without dummy prefix": sentence_pieces(False),
    "unigram": unigram,
    "word pieces": lambda _: small_bert_tokenizer(),
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp("tokenizer")) for name, make in FAMILIES.items()}


def whole_text(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    bos = [tokenizer.bos_token_id] if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else []
    return bos + ids


PIECES = ["Answer", ":", " ", "\n", "(", ")", "yes", "no", "good", "</s>", "<s>", "1", "é", "ー", "\t", ".", "'s", "A"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@pytest.mark.parametrize("family", FAMILIES)
@given(
    prompt=TEXT,
    end=st.sampled_from(["", " ", "  ", "\n", ":", ": ", ":\n", "(", "</s>", "Ans", "\n\n", '"']),
    answers=st.lists(st.tuples(st.sampled_from(["", " ", "\n", "  "]), TEXT).map("".join), min_size=1, max_size=3),
)
def test_prompt_and_answer_are_the_whole_text_tokenised(tokenizers, family, prompt, end, answers):
    tokenizer, prompt = tokenizers[family], f"Word{prompt}{end}"
    try:
        [joined] = join(tokenizer, [prompt], [answers], 1000)
    except TunediffError as error:
        line = str(error)
        wholes = [whole_text(tokenizer, prompt + answer) for answer in answers]
        begins = [i != j and b[: len(a)] == a for i, a in enumerate(wholes) for j, b in enumerate(wholes)]
        nothing = [whole == whole_text(tokenizer, prompt)[: len(whole)] for whole in wholes]
        assert (
            ("is a prefix of" in line and any(begins))
            or ("found no token" in line and any(nothing))
            or "before" in line
        )
        return
    alone = whole_text(tokenizer, prompt)
    assert alone[: len(joined.prompt)] == joined.prompt
    assert joined.moved == len(alone) - len(joined.prompt)
    for answer, tokens in zip(answers, joined.answers, strict=True):
        assert joined.prompt + tokens == whole_text(tokenizer, prompt + answer)
    if joined.moved:  # no further than it must
        further = alone[: len(joined.prompt) + 1]
        assert any(whole_text(tokenizer, prompt + answer)[: len(further)] != further for answer in answers)
    bos = tokenizer.bos_token_id
    assert joined.prompt.count(bos) == (tokenizer("").input_ids[:1] == [bos])
    assert not {bos, tokenizer.eos_token_id} & {token for tokens in joined.answers for token in tokens if token}


@pytest.mark.parametrize("family", FAMILIES)
@given(prompt=TEXT, end=st.sampled_from(["", " ", "  ", "\n", ": ", "\t", "\n "]))
def test_a_free_answer_follows_a_beginning_of_the_prompt_and_the_rest_is_blank(tokenizers, family, prompt, end):
    tokenizer, prompt = tokenizers[family], f"Word{prompt}{end}"
    [(tokens, rest)] = stems(tokenizer, [prompt])
    assert prompt.endswith(rest)
    assert not rest.strip(" \t")
    assert tokens == whole_text(tokenizer, prompt[: len(prompt) - len(rest)])


@pytest.mark.parametrize(
    ("prompt", "answers", "line"),
    [
        (
            "Word:",
            ["yes", "yes yes"],
            "params.yaml: prompt.choices: 'yes' is a prefix of 'yes yes', so it would always be at least as likely",
        ),
        ("Word:", ["yes", "yes"], "params.yaml: prompt.choices: 'yes' is a prefix of 'yes', so"),
        ("Word:", ["yes", ""], "params.yaml: prompt.choices: found no token in '' after 'Word:', expected a text"),
    ],
)
def test_answers_that_cannot_be_told_apart_are_refused(tokenizers, prompt, answers, line):
    with pytest.raises(TunediffError) as caught:
        join(tokenizers["byte-level"], [prompt], [answers], 1000)
    assert str(caught.value).startswith(line)


def test_a_prompt_that_melts_away_is_refused_and_so_is_one_that_is_too_long_with_its_answer(tokenizers):
    plain = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    with pytest.raises(TunediffError, match=r"prompt\.template: found no token before 'b' in 'a', expected a text"):
        join(PreTrainedTokenizerFast(tokenizer_object=plain), ["a"], [["b"]], 10)
    n = len(whole_text(tokenizers["unigram"], "Word: good"))
    assert join(tokenizers["unigram"], ["Word:"], [[" good"]], n)
    with pytest.raises(TunediffError, match=f"found {n} tokens of a prompt and its answer, expected at most {n - 1}"):
        join(tokenizers["unigram"], ["Word:"], [[" good"]], n - 1)


def test_unusual_joins_are_counted_and_one_is_shown(tokenizers):
    prompts, answers = ["Word: ", "Word:"], [["yes", "no"], [" yes", " no"]]
    joined = join(tokenizers["byte-level"], prompts, answers, 100)
    counts, sentence = unusual_joins(tokenizers["byte-level"], prompts, answers, joined)
    assert counts == {"n": 2, "moved": 1, "differ": 1}
    assert "in 1 of 2 cases (in 1 it merges with a token of the prompt): after 'Word: ', 'yes' is ['Ġyes']" in sentence
    assert unusual_joins(tokenizers["byte-level"], prompts[1:], answers[1:], joined[1:]) == (
        {"n": 1, "moved": 0, "differ": 0},
        "",
    )


@pytest.mark.slow
def test_a_hundred_thousand_cases_are_joined_in_less_than_a_minute_or_two():
    tokenizer, prompts = small_tokenizer(), [f"A man is feeding {i} dogs in the park. Answer:" for i in range(10_000)]
    start = time.process_time()
    join(tokenizer, prompts, [[" yes", " no"]] * len(prompts), 1000)
    assert 10 * (time.process_time() - start) < 120


def learned_model(tokenizer, texts):
    """A small Llama that has read these texts, each with an end marker, until it knows them."""
    random.seed(0)
    torch.manual_seed(0)
    config = small_config("llama", tokenizer, hidden_size=64, head_dim=16, initializer_range=0.02)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    rows = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts]
    for _ in range(200):
        batch = random.sample(rows, min(32, len(rows)))
        width = max(map(len, batch))
        tokens = torch.tensor([row + [0] * (width - len(row)) for row in batch])
        labels = torch.tensor([row + [-100] * (width - len(row)) for row in batch])
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


WORDS = [f"{letter} {word}" for word in GOOD + BAD for letter in "abcde"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "end", "choices"),
    [
        ("sentence pieces", "\n", ["yes", "no"]),
        ("byte-level", " ", ["yes", "no"]),
        ("prepend", "", [" yes", " no"]),
        ("unigram", " ", ["yes", "no"]),
    ],
)
def test_a_model_that_has_learned_the_text_scores_as_it_writes_and_is_right(tokenizers, family, end, choices):
    tokenizer = tokenizers[family]
    prompts = [f"Word: {word}\nAnswer:{end}" for word in WORDS]
    gold = [int(word.split()[1] in BAD) for word in WORDS]
    texts = [prompt + choices[number] for prompt, number in zip(prompts, gold, strict=True)]
    model = learned_model(tokenizer, [*texts, *texts, *TEXTS[-6:]])
    joined = join(tokenizer, prompts, [choices] * len(prompts), 64)
    scores = score_choices(model, [one.prompt for one in joined], [one.answers for one in joined], 4096, "test")
    tokens, blanks = zip(*stems(tokenizer, prompts), strict=True)
    written = generate(model, tokenizer, tokens, 4096, 4, "test")
    texts = [text.removeprefix(rest).strip() for (text, _), rest in zip(written, blanks, strict=True)]
    assert scores.argmax(-1).tolist() == gold
    assert texts == [choices[number].strip() for number in gold]
