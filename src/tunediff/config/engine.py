"""What answers: the model in this process, or another engine."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tunediff.config.section import Number, Section, Whole, Word

# A value of engine.kind, and of model.source and tuned.source for a model that is available only from a server.
SERVED = "server"
# The values of engine.kind, as in `tunediff.engines.ENGINES`; listed here so that params.yaml can be checked without
# importing the engines.
KINDS = ["local", SERVED]
# Keys that change where the model lies or how requests are sent, but no answer.
MACHINE_KEYS = ("device_map", "keep_dequantized", "api_key_env", "num_concurrent", "timeout")

ADDRESS = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")


class EngineSection(Section):
    """What answers the cases."""

    kind: Word = Field(
        default="local",
        description="local: transformers in this process; server: a server with OpenAI's interface, such as those of "
        "vLLM and llama.cpp",
    )
    device_map: Literal["auto"] | None = Field(
        default=None,
        description="local: auto spreads the layers of a model over the GPUs of this machine; none: the model lies on "
        "one GPU, or in memory without one",
    )
    keep_dequantized: Literal["auto", "never"] = Field(
        default="auto",
        description="local: auto keeps 4-bit weights dequantized on the CPU, in training too, if that takes at most a "
        "quarter of the free memory; never dequantizes them in every pass",
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
    num_concurrent: Whole = Field(default=8, ge=1, le=1024, description="server: maximum number of requests in flight")
    timeout: Number = Field(default=120.0, gt=0, description="server: seconds until a request times out")

    def _contradictions(self) -> Iterator[str]:
        if self.kind == SERVED and self.url is None:
            yield "engine.kind is server, but engine.url is missing"
        if self.kind == "local":
            for key in ("url", "model", "api_key_env"):
                if getattr(self, key) is not None:
                    yield f"engine.kind is local, but engine.{key} is given"
        if self.kind == SERVED and self.device_map is not None:
            yield "engine.kind is server, but engine.device_map is given; the server places its model itself"
        yield from address_problems("engine.url", self.url)
        # The value may be a key that was pasted here by mistake, so the message does not show it.
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env, re.ASCII):
            yield "engine.api_key_env: expected the name of an environment variable that holds the key"


def address_problems(key: str, url: str | None) -> Iterator[str]:
    """A line if an address is invalid or could hold a secret; the line does not show the address."""
    if url is not None and not ADDRESS.fullmatch(url):
        yield (
            f"{key}: expected an address such as http://localhost:8000/v1, without user, password or query; put a "
            "key into an environment variable (engine.api_key_env)"
        )
