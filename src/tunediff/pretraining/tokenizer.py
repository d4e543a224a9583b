"""The tokenizer of a model from scratch: trained on its text, or an existing one.

tokenizer = train_bpe(texts, vocab_size=800, context=128)             # for decoders
tokenizer = train_wordpiece(texts, vocab_size=4000, context=128)      # for encoders: [CLS] a [SEP] b [SEP]
tokenizer = load_tokenizer(section.tokenizer, context=512)            # google-bert/bert-base-uncased
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunediff.config.pretrain import Tokenizer
from tunediff.models.load import read_tokenizer
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.hub import snapshot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
UNK = "[UNK]"
# In the order of BERT's own vocabularies.
BERT_SPECIAL = ["[PAD]", UNK, "[CLS]", "[SEP]", "[MASK]"]


def train_bpe(texts: Sequence[str], vocab_size: int, context: int) -> "PreTrainedTokenizerBase":
    """Train a byte-level BPE tokenizer with at most `vocab_size` tokens, which can encode any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, model_max_length=context
    )


def train_wordpiece(texts: Sequence[str], vocab_size: int, context: int) -> "PreTrainedTokenizerBase":
    """Train an uncased WordPiece tokenizer with at most `vocab_size` tokens, with BERT's rules for words.

    At most a quarter of the vocabulary are single letters; a word with a rarer letter becomes [UNK].
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizer

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters: Counter[str] = Counter()
    for word, n in words.items():
        letters.update(dict.fromkeys([word[0], *(f"##{letter}" for letter in word[1:])], n))
    common = sorted(letter for letter, _ in letters.most_common(vocab_size // 4))
    # The trainer numbers letters inside words in the order of a hash table, which differs between runs, unless they are
    # among its special tokens.
    inner = [letter for letter in common if letter.startswith("##")]
    alphabet = sorted({letter[-1] for letter in common})
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*BERT_SPECIAL, *inner],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=True, model_max_length=context)


def load_tokenizer(section: Tokenizer, context: int) -> "PreTrainedTokenizerBase":
    """Load an existing tokenizer, for sequences of `context` tokens.

    Raises:
        TunediffError: the hub does not answer, or there is no tokenizer that can be loaded.
    """
    folder = Path(section.id)
    if section.source == "hub":
        folder = snapshot(section.id, str(section.revision), "model", ["*.json", "*.txt", "*.model"])
    elif not folder.is_dir():
        raise TunediffError(f"params.yaml: pretrain.tokenizer.id: there is no folder {folder}")
    try:
        tokenizer = read_tokenizer(folder)
    # tokenizers and transformers raise errors of many types for invalid files.
    except Exception as error:
        raise TunediffError(f"{folder}: the tokenizer cannot be loaded: {one_line(error)}") from None
    tokenizer.model_max_length = context
    return tokenizer
