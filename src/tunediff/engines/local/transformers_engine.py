"""The local engine: a model of transformers in this process."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.engines.engine import Engine, Generated, HeadAnswer, OptionScore
from tunediff.engines.local.choices import score_choices
from tunediff.engines.local.generate import generate
from tunediff.engines.local.labels import classify
from tunediff.engines.local.spans import find_spans, no_answer_log_probs
from tunediff.inputs.chat import Chat, Template, around_answers, check_spelling, template_of
from tunediff.inputs.joins import join, stems, unusual_joins
from tunediff.inputs.prompts import encode_cases
from tunediff.inputs.settings import PredictSettings
from tunediff.inputs.tokens import CHAT, encode_prompts, tokenize
from tunediff.inputs.windows import read_documents
from tunediff.models.dequantized import keep_dequantized
from tunediff.models.environment import environment
from tunediff.models.load import Loaded, load_base
from tunediff.models.tuned import load_tuned, own_template
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.hashing import content_hash

if TYPE_CHECKING:
    from torch import Tensor


def open_local(settings: PredictSettings, base: Path) -> "TransformersEngine":
    """Open the engine of the base model of a folder; see `tunediff.engines.open_engine`."""
    loaded = load_base(base, settings.model, settings.headline.labels, settings.engine.device_map)
    return TransformersEngine(loaded, settings.evaluate.batch_tokens, keep=settings.engine.keep_dequantized == "auto")


class TransformersEngine(Engine):
    """A loaded model, which answers in batches.

    Args:
        loaded: the model.
        batch_tokens: tokens per batch; batches are halved if memory runs out.
        others: chat templates that must render the same prompts as the model's own.
        keep: whether to keep 4-bit weights dequantized (`keep_dequantized`).
    """

    def __init__(self, loaded: Loaded, batch_tokens: int, others: Sequence[Template] = (), keep: bool = False) -> None:
        self.loaded, self.batch_tokens, self.context = loaded, batch_tokens, loaded.context
        self._others, self._keep = others, keep
        if keep:
            keep_dequantized(loaded.model)
        self._chat: Chat | None = None  # set once it has rendered a prompt
        self._joins_printed = False
        self._tokens: dict[str, list[int]] = {}  # of the prompts that were counted last, which are usually asked next

    def loglikelihoods(self, prompts: Sequence[str], continuations: Sequence[str], title: str) -> list[list[float]]:
        """See `Engine`; all continuations are scored in one forward pass if the layout allows it."""
        scores: list[list[float]] = self._scores(prompts, continuations, title).tolist()
        return scores

    def log_probs(self, prompts: Sequence[str], continuations: Sequence[str], title: str) -> list[list[float]]:
        """See `Engine`; computed by torch, so that it rounds like the log-probabilities of a head."""
        log_probs: list[list[float]] = self._scores(prompts, continuations, title).log_softmax(-1).tolist()
        return log_probs

    def option_scores(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]], title: str
    ) -> list[list[OptionScore]]:
        """See `Engine`; all options of a prompt are scored in one forward pass if the layout allows it."""
        if not prompts:
            return []
        loaded, tokens = self.loaded, self._prompt_tokens(prompts)
        joined = join(loaded.tokenizer, prompts, options, self.context, tokens, none_begins=False)
        rows, answers = [row.prompt for row in joined], [row.answers for row in joined]
        scores = score_choices(loaded.model, rows, answers, self.batch_tokens, title).tolist()
        return [
            [OptionScore(score, len(ids)) for score, ids in zip(*each, strict=True)]
            for each in zip(scores, answers, strict=True)
        ]

    def unconditional(self, texts: Sequence[str], title: str) -> list[float]:
        """See `Engine`; the text follows a BOS or, without one, an end marker, as in lm-evaluation-harness."""
        loaded = self.loaded
        start = loaded.tokenizer.bos_token_id
        start = loaded.tokenizer.eos_token_id if start is None else start
        if start is None:
            raise TunediffError(
                "params.yaml: task.option_score: found unconditional, but the model's tokenizer has neither a BOS "
                "nor an end marker to place before an option; expected another score"
            )
        answers = [[ids] for ids in tokenize(loaded.tokenizer, texts)]
        scores = score_choices(loaded.model, [[start]] * len(answers), answers, self.batch_tokens, title)
        found: list[float] = scores[:, 0].tolist()
        return found

    def generate(self, prompts: Sequence[str], stop: Sequence[str], max_new_tokens: int, title: str) -> list[Generated]:
        """See `Engine`."""
        loaded, before, ends = self.loaded, "", list[int]()
        if self._chat and prompts and prompts[0].startswith(CHAT):
            before, ends = around_answers(self._chat)
        if any(text in before for text in stop):
            # A line feed that the template writes before every answer belongs to the prompt and ends no answer.
            prompts = [prompt + before for prompt in prompts]
        tokens, blanks = (
            zip(*stems(loaded.tokenizer, prompts, self._prompt_tokens(prompts)), strict=True) if prompts else ((), ())
        )
        written = generate(loaded.model, loaded.tokenizer, tokens, self.batch_tokens, max_new_tokens, title, stop, ends)
        return [
            answer._replace(text=answer.text.removeprefix(blank)) for answer, blank in zip(written, blanks, strict=True)
        ]

    def environment(self) -> dict[str, str]:
        """See `Engine`."""
        template = {} if self._chat is None else {"chat_template": content_hash(self._chat.template.text)}
        return environment(self.loaded.model) | template

    def inspected(self) -> dict[str, Any]:
        """See `Engine`."""
        return self.loaded.found

    def tuned(self, folder: Path) -> "TransformersEngine":
        """See `Engine`; the weights of the base are reused."""
        loaded, base = load_tuned(self.loaded, folder), self.loaded.tokenizer
        if loaded.tokenizer is base:
            template = own_template(folder, base)
        else:
            template = template_of(base, self.loaded.model.name_or_path) if base.chat_template else None
        return TransformersEngine(loaded, self.batch_tokens, [] if template is None else [template], self._keep)

    def n_tokens(self, prompts: Sequence[str]) -> list[int]:
        """See `Engine`; a BOS counts."""
        return [len(tokens) for tokens in self._prompt_tokens(prompts)]

    def check(self, prompt: Prompt) -> None:
        """See `Engine`."""
        check_spelling(self.loaded.tokenizer, prompt)

    def chat(self, prompt: Prompt) -> Chat | None:
        """See `Engine`."""
        if prompt.messages is None:
            return None
        template = template_of(self.loaded.tokenizer, self.loaded.model.name_or_path)
        self._chat = Chat(template, prompt, self._others)
        return self._chat

    def batched(self, batch_tokens: int) -> "TransformersEngine":
        """See `Engine`."""
        engine = copy(self)
        engine.batch_tokens = batch_tokens
        return engine

    def label_log_probs(self, cases: Sequence[Case], prompt: Prompt, title: str) -> list[HeadAnswer]:
        """See `Engine`."""
        loaded = self.loaded
        encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context)
        log_probs = classify(loaded.model, encoded, loaded.pad, self.batch_tokens, title).tolist()
        return [
            HeadAnswer("", scores, row.prompt_hash, row.n_tokens, row.truncated)
            for row, scores in zip(encoded, log_probs, strict=True)
        ]

    def spans(self, cases: Sequence[Case], prompt: Prompt, max_answer_tokens: int, title: str) -> list[HeadAnswer]:
        """See `Engine`; a long context is read in windows."""
        loaded = self.loaded
        documents = read_documents(loaded.tokenizer, cases, prompt, loaded.context)
        found = find_spans(loaded.model, documents, loaded.pad, self.batch_tokens, max_answer_tokens, title)
        answers = []
        for case, document, candidates in zip(cases, documents, found, strict=True):
            text = (
                case.inputs["context"][candidates.spans[0].start : candidates.spans[0].end] if candidates.spans else ""
            )
            read = document.prompt_hash, document.n_tokens, document.truncated
            answers.append(HeadAnswer(text, no_answer_log_probs(candidates), *read))
        return answers

    def _prompt_tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        if any(prompt not in self._tokens for prompt in prompts):
            self._tokens = dict(zip(prompts, encode_prompts(self.loaded.tokenizer, prompts), strict=True))
        return [self._tokens[prompt] for prompt in prompts]

    def _scores(self, prompts: Sequence[str], continuations: Sequence[str], title: str) -> "Tensor":
        loaded, answers = self.loaded, [continuations] * len(prompts)
        joined = join(loaded.tokenizer, prompts, answers, self.context, self._prompt_tokens(prompts))
        if not self._joins_printed and (notice := unusual_joins(loaded.tokenizer, prompts, answers, joined)[1]):
            self._joins_printed = True
            print(f"{title}: {notice}")
        rows, choices = [row.prompt for row in joined], [row.answers for row in joined]
        return score_choices(loaded.model, rows, choices, self.batch_tokens, title)
