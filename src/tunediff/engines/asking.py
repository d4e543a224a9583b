"""Get the raw answers of a model to cases, a row per case; they are parsed and graded elsewhere.

    frame = ask_cases(engine, cases, case_set, evaluate, title="base")     # data.answers.ANSWER_FILE_COLUMNS

If text is generated and there are choices, the choices are scored as well, so that there are always log-probabilities.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from tunediff.config.evaluate import Evaluate
from tunediff.data.answers import ANSWER_FILE_COLUMNS
from tunediff.data.cases import Case
from tunediff.engines.engine import Engine, Generated, HeadAnswer
from tunediff.inputs.chat import Chat
from tunediff.inputs.prompts import Rendered, option_texts, render_cases
from tunediff.inputs.settings import CaseSet
from tunediff.runtime.files import ROWS
from tunediff.runtime.hashing import content_hash

# Values of the column `scorer` by `Ask.answer`.
SCORERS = {"choices": "choices", "options": "choices", "text": "generation", "labels": "head", "span": "head"}


def ask_cases(engine: Engine, cases: Sequence[Case], case_set: CaseSet, evaluate: Evaluate, title: str) -> pd.DataFrame:
    """Return the raw answers of a model, a row per case, in the order of the cases; `ROWS` cases are asked at a time.

    Args:
        engine: the engine of the model.
        cases: the cases.
        case_set: the prompt, and what is asked about a case.
        evaluate: limits of the answers, unless the test set has its own.
        title: label of the progress bar.
    """
    if case_set.max_new_tokens is not None:
        evaluate = evaluate.model_copy(update={"max_new_tokens": case_set.max_new_tokens})
    parts = [cases[start : start + ROWS] for start in range(0, max(1, len(cases)), ROWS)]
    frames = [_ask(engine, part, case_set, evaluate, title) for part in parts]
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]


def generate_texts(
    engine: Engine, cases: Sequence[Case], case_set: CaseSet, evaluate: Evaluate, title: str
) -> list[str]:
    """Return the text that the model generates for each case; arguments as for `ask_cases`."""
    prompts = _render(engine, cases, case_set, evaluate.max_new_tokens)
    return [answer.text for answer in _generate(engine, prompts, case_set, evaluate, title)]


def _ask(engine: Engine, cases: Sequence[Case], case_set: CaseSet, evaluate: Evaluate, title: str) -> pd.DataFrame:
    ask = case_set.ask
    if ask.by_head:
        return _head_frame(engine, cases, case_set, evaluate, title)
    if ask.answer == "options":
        return _option_frame(engine, cases, case_set, title)
    writes, texts = ask.answer == "text", [ask.choices[name] for name in ask.names if ask.choices]
    if writes and not engine.scores(case_set.prompt):
        texts = []
    scored, chat = texts, engine.chat(case_set.prompt)
    if isinstance(chat, Chat) and cases:  # a template writes the same answer after every case
        scored = [turn.answer for turn in chat.turns([cases[0].inputs] * len(texts), texts)]
    longest = max(engine.n_tokens(scored), default=0) - engine.n_tokens([""])[0] if scored else 0
    prompts = _render(engine, cases, case_set, max(longest, evaluate.max_new_tokens * writes))
    log_probs = engine.log_probs([prompt.text for prompt in prompts], scored, title) if scored else []
    if writes:
        answers = _generate(engine, prompts, case_set, evaluate, f"{title}, generating" if texts else title)
    else:
        answers = [Generated(texts[int(np.argmax(row))], "none") for row in log_probs]
    return _frame(cases, prompts, answers, log_probs or [None] * len(cases), case_set)


def _option_frame(engine: Engine, cases: Sequence[Case], case_set: CaseSet, title: str) -> pd.DataFrame:
    """The scores of the options of each case: in total, per token, and, if `Ask.unconditional`, without a prompt."""
    chat, options = engine.chat(case_set.prompt), [option_texts(case, case_set.prompt) for case in cases]
    if isinstance(chat, Chat):
        inputs = [case.inputs for case, texts in zip(cases, options, strict=True) for _ in texts]
        turns = iter(chat.turns(inputs, list(chain.from_iterable(options))))
        options = [[next(turns).answer for _ in texts] for texts in options]
    different = list(dict.fromkeys(chain.from_iterable(options)))
    longest = max(engine.n_tokens(different), default=0) - engine.n_tokens([""])[0]
    prompts = _render(engine, cases, case_set, longest)
    prompts = [
        replace(prompt, prompt_hash=content_hash([prompt.prompt_hash, texts]))
        for prompt, texts in zip(prompts, options, strict=True)
    ]
    scores = engine.option_scores([prompt.text for prompt in prompts], options, title)
    sums = [[score.log_likelihood for score in row] for row in scores]
    answers = [Generated(case.options[int(np.argmax(row))], "none") for case, row in zip(cases, sums, strict=True)]
    log_probs: list[list[float] | None] = [log_softmax(row).tolist() for row in sums]
    frame = _frame(cases, prompts, answers, log_probs, case_set)
    frame["sum_log_probs"] = sums
    frame["token_log_probs"] = [[score.log_likelihood / score.n_tokens for score in row] for row in scores]
    if case_set.ask.unconditional:
        alone = dict(zip(different, engine.unconditional(different, f"{title}, without a prompt"), strict=True))
        frame["unconditional_log_probs"] = [[alone[text] for text in texts] for texts in options]
    return frame


def _head_frame(
    engine: Engine, cases: Sequence[Case], case_set: CaseSet, evaluate: Evaluate, title: str
) -> pd.DataFrame:
    names = case_set.ask.names
    if case_set.ask.answer == "labels":
        found = engine.label_log_probs(cases, case_set.prompt, title)
        texts = [names[int(np.argmax(answer.log_probs))] for answer in found]
    else:
        found = engine.spans(cases, case_set.prompt, evaluate.max_answer_tokens, title)
        texts = [answer.text for answer in found]
    # A single name always has the probability 1.
    log_probs = [answer.log_probs if len(names) > 1 else None for answer in found]
    return _frame(cases, found, [Generated(text, "none") for text in texts], log_probs, case_set)


def _render(engine: Engine, cases: Sequence[Case], case_set: CaseSet, reserved: int) -> list[Rendered]:
    prompt = case_set.prompt
    return render_cases(cases, prompt, engine.n_tokens, engine.context, reserved, engine.chat(prompt))


def _generate(
    engine: Engine, prompts: Sequence[Rendered], case_set: CaseSet, evaluate: Evaluate, title: str
) -> list[Generated]:
    return engine.generate([prompt.text for prompt in prompts], case_set.ask.stop, evaluate.max_new_tokens, title)


def _frame(
    cases: Sequence[Case],
    read: Sequence[Rendered | HeadAnswer],
    answers: Sequence[Generated],
    log_probs: Sequence[list[float] | None],
    case_set: CaseSet,
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {
            "case_id": case.case_id,
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "log_probs": probabilities,
            "scorer": SCORERS[case_set.ask.answer],
            "prompt_hash": source.prompt_hash,
            "n_tokens": source.n_tokens,
            "truncated": source.truncated,
        }
        for case, source, answer, probabilities in zip(cases, read, answers, log_probs, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(ANSWER_FILE_COLUMNS))
