"""Models a few units wide in real layouts, and tokenizers of a few sentences: seeded, made in milliseconds."""

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, BertTokenizer

from tests.models.layouts import SMALL_BERT, SMALL_GPT2, SMALL_LLAMA, SMALL_PHI
from tunediff.config.adapt import Adapt
from tunediff.config.model import Model
from tunediff.config.prompt import Prompt
from tunediff.config.task import TaskSection
from tunediff.config.train import Train
from tunediff.data.cases import make_cases
from tunediff.engines.local.transformers_engine import TransformersEngine
from tunediff.inputs.ask import Ask
from tunediff.inputs.prompts import Encoded, render_cases
from tunediff.inputs.settings import CaseSet
from tunediff.inputs.tokens import encode_prompts
from tunediff.models.load import Loaded, load_base
from tunediff.models.sources import write_manifest
from tunediff.pretraining.tokenizer import train_bpe

# The machines that run the tests have few cores, and threads that wait for each other cost more than they bring.
torch.set_num_threads(1)

SENTENCES = [
    "A man is feeding two dogs in the park.",
    "A woman is reading a red book on a bench.",
    "Two dogs are running after a ball.",
    "Nobody is sleeping: yes, no, maybe.",
]
# Wide enough weights that one token more or less in sight changes every digit.
WIDE = {"initializer_range": 0.3, "max_position_embeddings": 64}
SMALL = {
    "llama": SMALL_LLAMA | WIDE | {"rope_scaling": None},
    "phi": SMALL_PHI | WIDE,
    "qwen2": {"model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "num_key_value_heads": 2}
    | WIDE,
    "gpt_neox": {"model_type": "gpt_neox", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "rotary_pct": 0.5}
    | WIDE,
    "mistral": {"model_type": "mistral", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8}
    | WIDE,
    "gpt2": SMALL_GPT2 | {"initializer_range": 0.3, "n_positions": 64},
    "gemma2": {"model_type": "gemma2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "final_logit_softcapping": 2.0}
    | WIDE,
    "bert": SMALL_BERT | WIDE,
}

LABELS = ["entailment", "neutral", "contradiction"]
TASK = TaskSection(
    name="nli",
    inputs=["premise", "hypothesis"],
    labels=LABELS,
    source_input="premise",
    partial_input="hypothesis",
)
CHOICES = {"entailment": " yes", "neutral": " maybe so", "contradiction": " no"}
PROMPT = Prompt(template="{premise}\n{hypothesis}\nTrue?", choices=CHOICES)
CASES = make_cases(
    ({"premise": SENTENCES[i % 3], "hypothesis": SENTENCES[(i * i + 1) % 4][: 9 + 5 * i]}, LABELS[i % 3], ())
    for i in range(8)
)


CASE_SET = CaseSet(
    inputs=TASK.inputs,
    labels=LABELS,
    partial_input=TASK.partial_input,
    prompt=PROMPT,
    ask=Ask(answer="choices", names=LABELS, choices=CHOICES),
)


def asked_for(answer, case_set=CASE_SET, **changes):
    """The test set asked in another way: choices, text or labels."""
    choices = {} if answer in ("labels", "span") else case_set.ask.choices
    ask = case_set.ask.model_copy(update={"answer": answer, "choices": choices})
    return case_set.model_copy(update={"ask": ask, **changes})


def engine_of(loaded, batch_tokens=8192):
    """The local engine of a loaded model."""
    return TransformersEngine(loaded, batch_tokens)


def encoded_prompts(tokenizer, cases, prompt, context, reserved=0):
    """What a language model reads before its answers, as in training and evaluation."""

    def count(texts):
        return list(map(len, encode_prompts(tokenizer, texts)))

    rendered = render_cases(cases, prompt, count, context, reserved)
    tokens = encode_prompts(tokenizer, [row.text for row in rendered])
    return [Encoded(ids, None, row.prompt_hash, row.truncated) for ids, row in zip(tokens, rendered, strict=True)]


def small_tokenizer(vocab_size=320):
    """Byte-level BPE as `pretrain` makes it: <pad> 0, <s> 1, </s> 2; it puts <s> before a text."""
    return train_bpe(SENTENCES, vocab_size, 64)


def small_bert_tokenizer():
    """WordPiece: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, then words, letters and their continuations."""
    words = sorted({word for text in SENTENCES for word in text.lower().replace(".", "").replace(",", "").split()})
    letters = [chr(code) for code in range(ord("!"), ord("A"))] + [chr(code) for code in range(ord("["), ord("{"))]
    pieces = [*words, *letters, *(f"##{letter}" for letter in letters)]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(pieces)]
    return BertTokenizer(vocab={name: number for number, name in enumerate(names)}, model_max_length=64)


def small_config(name, tokenizer, **changes):
    special = {key: getattr(tokenizer, key) for key in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return AutoConfig.for_model(**(SMALL[name] | {"vocab_size": len(tokenizer)} | special | changes))


def small_model(name, tokenizer, head="lm", seed=0, **changes):
    """A model with random weights; head lm, classification, or none for the bare encoder or decoder."""
    kinds = {"lm": AutoModelForCausalLM, "classification": AutoModelForSequenceClassification, "none": AutoModel}
    torch.manual_seed(seed)
    return kinds[head].from_config(small_config(name, tokenizer, **changes), dtype=torch.float32).eval()


def write_model(folder, name, tokenizer, head="lm", **changes):
    """The folder that a model is published in: config.json, model.safetensors, tokenizer."""
    small_model(name, tokenizer, head, **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def model_section(folder, **keys):
    """The section model for a folder, not quantised unless `keys` say so."""
    return Model(**({"source": "folder", "id": str(folder), "head": "lm", "quantization": "none"} | keys))


def pin(base, folder, section):
    """What the stage base_model does for a model that is not from scratch."""
    base.mkdir(parents=True)
    write_manifest(base, section, folder)
    return base


def load(base, folder, labels=LABELS, **keys) -> Loaded:
    """Pin a folder at `base` where that has not been done, and load it."""
    section = model_section(folder, **keys)
    return load_base(base if base.exists() else pin(base, folder, section), section, labels)


def adapt_section(method, **keys):
    lora = {"r": 2, "lora_alpha": 4, "target_modules": "all-linear"} if "lora" in method else {}
    return Adapt(**({"method": method} | lora | keys))


def train_section(**keys):
    usual = {"learning_rate": 1e-2, "num_train_epochs": 3, "per_device_train_batch_size": 4}
    return Train(**(usual | keys))
