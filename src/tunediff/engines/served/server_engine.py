"""The engine for models on a server with OpenAI's interface.

Prompts with a template are sent as completions; choices are scored in the way that the server supports. Messages are
sent as chats, which the server's chat template renders and to which it only generates answers.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tunediff.config.engine import SERVED
from tunediff.config.prompt import Prompt
from tunediff.engines.engine import Engine, Generated, OptionScore
from tunediff.engines.served.at_once import answer_each
from tunediff.engines.served.client import Client, key_of_environment
from tunediff.engines.served.completions import Completions
from tunediff.engines.served.conformance import Conformance, check_differ, conform, conform_chat, find_model
from tunediff.engines.served.ways import Way
from tunediff.inputs.chat import DEFAULTS, Messages
from tunediff.inputs.joins import stems
from tunediff.inputs.settings import PredictSettings
from tunediff.inputs.tokens import CHAT, encode_prompts
from tunediff.models.sources import MANIFEST
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json, shown

Result = TypeVar("Result")


def open_server(settings: PredictSettings, base: Path) -> "ServerEngine":  # noqa: ARG001  (the weights are elsewhere)
    """Open the engine of a base model on a server; see `tunediff.engines.open_engine`."""
    engine = settings.engine
    return ServerEngine(settings, str(engine.url), engine.model or settings.model.id)


class ServerEngine(Engine):
    """A model on a server, checked on construction (`tunediff.engines.served.conformance`).

    Args:
        settings: settings of the stage.
        url: address of the server.
        name: name of the model there; None: the only model.
        base: the engine of the base model, whose answers must differ; None: this is the base model.
    """

    def __init__(
        self, settings: PredictSettings, url: str, name: str | None, base: "ServerEngine | None" = None
    ) -> None:
        self._settings, section = settings, settings.engine
        self._n = section.num_concurrent
        self._client = Client(url, key_of_environment(section.api_key_env), section.timeout)
        self._model = find_model(self._client, name)
        self._completions = Completions(self._client, self._model.name)
        self._prompt_tokens: dict[str, list[int]] = {}  # of the prompts that were counted last, usually asked next
        prompts = [case_set.prompt for case_set in settings.sets.values()]
        self._found, self._chat_found, self._values = self._conform(prompts)
        self._way = self._found.way if self._found else None
        self._tokens = getattr(self._way, "tokens", None)
        # Otherwise only the server can count tokens, and refuses prompts that are too long.
        counted = self._tokens is not None and all(prompt.messages is None for prompt in prompts)
        self.context = self._model.context if counted and self._model.context else sys.maxsize
        if base is not None:
            for mine, theirs in ((self._found, base._found), (self._chat_found, base._chat_found)):
                if mine and theirs and (unusual := check_differ(self._completions, theirs, mine)):
                    print(unusual, file=sys.stderr)

    def _conform(self, prompts: Sequence[Prompt]) -> tuple[Conformance | None, Conformance | None, Mapping[str, Any]]:
        asks, evaluate = [case_set.ask for case_set in self._settings.sets.values()], self._settings.evaluate
        text = chat = None
        values: Mapping[str, Any] = {}
        if any(prompt.messages is None for prompt in prompts):
            needed = any(ask.answer in ("choices", "options") for ask in asks) or bool(evaluate.few_shot)
            needed |= "partial_input" in evaluate.settings
            room = self._model.context or sys.maxsize
            text = conform(self._completions, needed or any(ask.choices for ask in asks), needed, self._n, room)
        if any(prompt.messages is not None for prompt in prompts):
            chat, values = conform_chat(self._completions, DEFAULTS, self._n)
        return text, chat, values

    def scores(self, prompt: Prompt) -> bool:
        """See `Engine`."""
        return prompt.messages is None and self._way is not None

    def loglikelihoods(self, prompts: Sequence[str], continuations: Sequence[str], title: str) -> list[list[float]]:
        """See `Engine`."""
        way = self._scoring(prompts)

        def answer(i: int) -> list[float]:
            return [sum(row) for row in way.token_scores(prompts[i], continuations, self.context)]

        return self._each(len(prompts), answer, title)

    def option_scores(
        self, prompts: Sequence[str], options: Sequence[Sequence[str]], title: str
    ) -> list[list[OptionScore]]:
        """See `Engine`."""
        way = self._scoring(prompts)

        def answer(i: int) -> list[tuple[float, int]]:
            return [(sum(row), len(row)) for row in way.token_scores(prompts[i], options[i], self.context)]

        return [[OptionScore(*score) for score in row] for row in self._each(len(prompts), answer, title)]

    def unconditional(self, texts: Sequence[str], title: str) -> list[float]:
        """See `Engine`; the text follows the token that the server puts before every text."""
        if not getattr(self._tokens, "start", None):
            raise TunediffError(
                f"params.yaml: task.option_score: found unconditional, but {self._completions.place} reports no BOS "
                "token to place before an option; expected another score"
            )
        scores = self.option_scores([""] * len(texts), [[text] for text in texts], title)
        return [score.log_likelihood for [score] in scores]

    def generate(self, prompts: Sequence[str], stop: Sequence[str], max_new_tokens: int, title: str) -> list[Generated]:
        """See `Engine`."""

        def answer(i: int) -> list[str]:
            if prompts[i].startswith(CHAT):
                request = json.loads(prompts[i].removeprefix(CHAT))
                values = {**self._values, **request["chat_template_kwargs"]}
                completion, blank = self._completions.answer(request["messages"], values, max_new_tokens, stop), ""
            else:
                stem, blank = self._stem(prompts[i])
                completion = self._completions.write(stem, max_new_tokens, stop)
            return [completion.text.removeprefix(blank), completion.finish_reason]

        return [Generated(text, reason) for text, reason in self._each(len(prompts), answer, title)]

    def environment(self) -> dict[str, str]:
        """See `Engine`: the server and how choices are scored, which are the same for base and tuned model."""
        how = {} if self._way is None else {"scoring": self._way.name}
        server = " ".join(filter(None, [self._model.owner, self._version()]))
        return {"engine": "server", **({"server": server} if server else {}), **how}

    def inspected(self) -> dict[str, Any]:
        """See `Engine`: the result of the conformance check."""
        found = self._found
        measured = {} if found is None else {"repeat": found.repeat, "aligned": found.aligned, "cut": found.cut}
        words = {} if self._way is None else {"scoring": self._way.words}
        return {
            "served": self._model.name,
            "url": self._client.url,
            **words,
            **{f"{name}_nats": value for name, value in measured.items() if value is not None},
        }

    def tuned(self, folder: Path) -> "ServerEngine":
        """See `Engine`; refused if it answers like the base model."""
        path = folder / MANIFEST
        manifest = read_json(path)
        if not isinstance(manifest, dict) or manifest.get("source") != SERVED or not manifest.get("id"):
            raise TunediffError(f"{path}: found {shown(manifest)}, expected a model on a server; run dvc repro")
        return ServerEngine(self._settings, manifest.get("url") or self._client.url, manifest["id"], base=self)

    def n_tokens(self, prompts: Sequence[str]) -> list[int]:
        """See `Engine`; bytes for messages, and for texts that the server does not tokenize."""
        tokens = self._tokens
        if tokens is None or any(prompt.startswith(CHAT) for prompt in prompts):
            return super().n_tokens(prompts)
        if any(prompt not in self._prompt_tokens for prompt in prompts):
            distinct = list(dict.fromkeys(prompts))
            with ThreadPoolExecutor(self._n) as pool:
                found = pool.map(lambda prompt: encode_prompts(tokens, [prompt])[0], distinct)
                self._prompt_tokens = dict(zip(distinct, found, strict=True))
        return [len(self._prompt_tokens[prompt]) for prompt in prompts]

    def chat(self, prompt: Prompt) -> Messages | None:
        """See `Engine`: the messages themselves, which the server's chat template renders."""
        return None if prompt.messages is None else Messages(prompt)

    def _scoring(self, prompts: Sequence[str]) -> Way:
        if self._way is None or any(prompt.startswith(CHAT) for prompt in prompts):
            self._completions.refuse(
                "returns no log-probabilities of choices, expected evaluate.scoring_method: generation"
            )
        return self._way

    def _stem(self, prompt: str) -> tuple[str | list[int], str]:
        """The prompt to continue, and the spaces at its end that the model has to generate."""
        if self._tokens is not None:
            known = self._prompt_tokens.get(prompt)
            return stems(self._tokens, [prompt], None if known is None else [known])[0]
        return prompt, ""

    def _each(self, n: int, answer: Callable[[int], Result], title: str) -> list[Result]:
        self._client.start()
        return answer_each(n, answer, self._n, title, self._client.stop)

    def _version(self) -> str | None:
        """The version of the server, if it reports one (vLLM: /version, llama.cpp: /props)."""
        for path, key in (("//version", "version"), ("//props", "build_info")):
            try:
                found = self._client.get(path, tries=1)
            except TunediffError:
                continue
            if isinstance(found, dict) and isinstance(found.get(key), str):
                return str(found[key])
        return None
