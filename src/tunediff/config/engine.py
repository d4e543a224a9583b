"""What answers: the model in this process, or another engine."""

import re
from collections.abc import Iterator

from pydantic import Field

from tunediff.config.section import Number, Section, Whole, Word

# Of engine.kind: a server; of model.source and tuned.source: a model that only a server has.
SERVED = "server"
# What engine.kind may be; `tunediff.engines.ENGINES` opens each. They stand here so that params.yaml is checked without
# the code of the engines.
KINDS = ["local", SERVED]
# How a server is asked, which changes no answer of it.
OF_MACHINE = ("api_key_env", "num_concurrent", "timeout")

ADDRESS = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")


class EngineSection(Section):
    """What answers the cases."""

    kind: Word = Field(
        default="local",
        description="local: transformers in this process; server: a server with OpenAI's interface, such as those of "
        "vLLM and llama.cpp",
    )
    url: Word | None = Field(
        default=None, description="server: its address up to the version, such as http://localhost:8000/v1"
    )
    model: Word | None = Field(
        default=None, description="server: the base model's name there; none: the name is model.id"
    )
    api_key_env: Word | None = Field(
        default=None, description="server: the environment variable that holds the key; none: no key is sent"
    )
    num_concurrent: Whole = Field(
        default=8, ge=1, le=1024, description="server: requests that wait for an answer at a time"
    )
    timeout: Number = Field(default=120.0, gt=0, description="server: seconds that a request may take")

    def _contradictions(self) -> Iterator[str]:
        if self.kind == SERVED and self.url is None:
            yield "engine.kind is server, but engine.url is missing"
        if self.kind == "local":
            for key in ("url", "model", "api_key_env"):
                if getattr(self, key) is not None:
                    yield f"engine.kind is local, but engine.{key} is given"
        yield from address_problems("engine.url", self.url)
        # A key that stands here by mistake is not shown.
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env, re.ASCII):
            yield "engine.api_key_env: found no name of an environment variable, expected one, which then holds the key"


def address_problems(key: str, url: str | None) -> Iterator[str]:
    """A line where an address is none, or could hold a secret; it is not shown."""
    if url is not None and not ADDRESS.fullmatch(url):
        yield (
            f"{key}: expected an address such as http://localhost:8000/v1, without user, password or query; a key "
            "belongs into the environment (engine.api_key_env)"
        )
