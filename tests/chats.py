"""Tokenizers of a few sentences with real chat templates, as their publishers wrote them (tests/chat_templates).

Of Qwen3's, Llama 3.2's and DeepSeek-R1's the parts about tools are left out.
"""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tests.imports import ROOT
from tests.tiny import LABELS, SENTENCES
from tunediff.config.prompt import Prompt
from tunediff.inputs.chat import Chat, around_answers, template_of

FOLDER = ROOT / "tests" / "chat_templates"
(SMOLLM2, LLAMA3, LLAMA32, LLAMA2, GEMMA2, MISTRAL, ZEPHYR, QWEN3, DEEPSEEK_R1) = (
    (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    for name in ("smollm2", "llama3", "llama32", "llama2", "gemma2", "mistral", "zephyr", "qwen3", "deepseek_r1")
)

IM = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
HEADERS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
ASKED = [
    *("yes", "no", "maybe so", "user", "assistant", "system", "model", "think", "[INST] [/INST]", "Is it true? Answer"),
    *("<|im_end|>", "<start_of_turn>", "</s>", "<|eot_id|>"),
]


def made(template, special, bos=None, eos=None, backend="byte_level", thinking=(), puts_bos=False):
    """A tokenizer with a chat template.

    Args:
        template: the chat template.
        special: its special tokens.
        bos: one of them.
        eos: one of them.
        backend: byte_level (GPT-2, Llama 3, Qwen), metaspace (Llama 2, Mistral, Gemma: SentencePiece), or melting,
            the same with pieces that end with a blank.
        thinking: added tokens that are not special.
        puts_bos: whether it puts a BOS before a text by itself.
    """
    if backend == "byte_level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet, more = pre_tokenizers.ByteLevel.alphabet(), []
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        alphabet, more = ["▁"], ["<unk>", *(f"<0x{number:02X}>" for number in range(256))]
    if backend == "metaspace":  # a blank only begins a piece, as SentencePiece learns them
        tokenizer.normalizer, normalizer = None, tokenizer.normalizer
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*special, *more], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*SENTENCES, *ASKED] * 5, trainer)
    if backend == "metaspace":
        unsplit = json.loads(tokenizer.to_str()) | {"pre_tokenizer": None}
        tokenizer = Tokenizer.from_str(json.dumps(unsplit))
        tokenizer.normalizer = normalizer
    if more:
        kept = json.loads(tokenizer.to_str())  # bytes are no special tokens
        kept["added_tokens"] = [one for one in kept["added_tokens"] if one["content"] not in more[1:]]
        tokenizer = Tokenizer.from_str(json.dumps(kept))
    if puts_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    names = {name: text for name, text in (("bos_token", bos), ("eos_token", eos)) if text}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=2048, **names)
    wrapped.add_tokens([AddedToken(text, special=False, normalized=False) for text in thinking])
    wrapped.chat_template = template
    return wrapped


KINDS = {
    "smollm2": lambda: made(SMOLLM2, IM, bos="<|im_start|>", eos="<|im_end|>"),
    "llama3": lambda: made(LLAMA3, HEADERS, bos=HEADERS[0], eos=HEADERS[1], puts_bos=True),
    "llama32": lambda: made(LLAMA32, HEADERS, bos=HEADERS[0], eos=HEADERS[1], puts_bos=True),
    "gemma2": lambda: made(
        *(GEMMA2, ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"], "<bos>", "<eos>", "metaspace"), puts_bos=True
    ),
    "mistral": lambda: made(MISTRAL, ["<s>", "</s>"], "<s>", "</s>", "metaspace", puts_bos=True),
    "llama2": lambda: made(LLAMA2, ["<s>", "</s>"], "<s>", "</s>", "metaspace", puts_bos=True),
    "melting": lambda: made(LLAMA2, ["<s>", "</s>"], "<s>", "</s>", "melting", puts_bos=True),
    "zephyr": lambda: made(ZEPHYR, ["<s>", "</s>"], "<s>", "</s>", "metaspace", puts_bos=True),
    "qwen3": lambda: made(QWEN3, IM, eos="<|im_end|>", thinking=["<think>", "</think>"]),
    "r1": lambda: made(
        DEEPSEEK_R1,
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"],
        bos="<｜begin▁of▁sentence｜>",
        eos="<｜end▁of▁sentence｜>",
        thinking=["<think>", "</think>"],
        puts_bos=True,
    ),
}
# Those that ask a model where it answers.
PLAIN = ["smollm2", "llama3", "gemma2", "mistral", "llama2", "zephyr", "qwen3"]
# Those without a turn of the system's.
NO_SYSTEM = {"gemma2", "mistral"}

CHAT_CHOICES = dict(zip(LABELS, ["yes", "maybe so", "no"], strict=True))
QUESTION = "Premise: {premise}\nHypothesis: {hypothesis}\nIs it true?"


def chat_prompt(kind="smollm2", **keys):
    """Two turns, or the user's alone where the template knows no other."""
    system = [] if kind in NO_SYSTEM else [{"role": "system", "content": "Answer in a word."}]
    usual = {"messages": [*system, {"role": "user", "content": QUESTION}], "choices": CHAT_CHOICES}
    return Prompt.model_validate(usual | keys)


def turn_ends(tokenizer, prompt):
    """Ids of the token that ends a turn."""
    return around_answers(Chat(template_of(tokenizer, ""), prompt))[1]
