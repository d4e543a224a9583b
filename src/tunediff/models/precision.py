"""In which precision weights are held: packed by bitsandbytes as they are loaded, or as a checkpoint stores them.

    check_precision(config, "stored", "model.quantization", weights)     # before anything is downloaded or computed
    network = head.from_pretrained(weights, **packing_options(model, dtype, empty))

What is stored as GPTQ, AWQ, compressed-tensors, FP8 and the like is loaded by transformers, with the package that each
needs; its own checks say what is missing, a package or a GPU.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tunediff.config.model import BITSANDBYTES, Model
from tunediff.models.modules import unpacked_modules
from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import shown


def device() -> str:
    """`cuda` where a GPU is there, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def stored_quantization(config: Mapping[str, Any]) -> str | None:
    """How a checkpoint's own config.json says its weights are quantised: nf4, fp4, int8, gptq, ...; None: not."""
    stored = config.get("quantization_config")
    if stored is None:
        return None
    if not isinstance(stored, dict):
        raise TunediffError(f"config.json: quantization_config: found {shown(stored)}, expected an object")
    if stored.get("load_in_4bit"):
        return str(stored.get("bnb_4bit_quant_type", "fp4"))
    return "int8" if stored.get("load_in_8bit") else str(stored.get("quant_method"))


def check_precision(config: Mapping[str, Any], quantization: str, key: str, weights: Path) -> None:
    """Refuse a precision that the weights are not stored in, or that cannot be computed with here.

    Args:
        config: the layout, as in config.json; nothing else of the model is read.
        quantization: how params.yaml wants it.
        key: of params.yaml that says so.
        weights: where they lie, for the error.

    Raises:
        TunediffError: see above; the line names what is missing.
    """
    stored = stored_quantization(config)
    if stored is None and quantization == "stored":
        raise TunediffError(
            f"params.yaml: {key}: found stored, but the weights in {weights} are not quantised; expected none, "
            f"{', '.join(BITSANDBYTES)}"
        )
    if stored is not None and quantization not in ("stored", stored):
        expected = "stored" + (f" or {stored}" if stored in BITSANDBYTES else "")
        raise TunediffError(
            f"params.yaml: {key}: found {quantization}, but the weights in {weights} are stored as {stored}; expected "
            f"{expected}"
        )
    wanted = config["quantization_config"] if stored is not None else BITSANDBYTES.get(quantization)
    if wanted is None:
        return
    from transformers.quantizers.auto import AutoHfQuantizer

    try:
        with _quiet():
            quantizers: Any = AutoHfQuantizer
            if stored is not None and not quantizers.supports_quant_method(wanted):
                raise ValueError(f"transformers does not support the method {shown(wanted.get('quant_method'))}")
            given = dict(wanted) if stored is not None else _bitsandbytes(**wanted)
            quantizer = quantizers.from_config(given, pre_quantized=stored is not None)
            quantizer.validate_environment(device_map={"": device()}, dtype=None)
    # Each method says in its own way what it needs: a package, a GPU, another version.
    except Exception as error:
        raise TunediffError(
            f"params.yaml: {key}: found {quantization}, but weights in {stored or quantization} cannot be loaded here: "
            f"{one_line(error)}"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of transformers: what is wrong is an error, and what was loaded is looked at."""
    from transformers.utils import logging as theirs

    before = theirs.get_verbosity()
    theirs.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        theirs.set_verbosity(before)


def packing_options(model: Model, dtype: torch.dtype, empty: PreTrainedModel) -> dict[str, Any]:
    """What `from_pretrained` is told so that bitsandbytes packs the weights; nothing where it does not.

    Args:
        model: the section model.
        dtype: of the computation.
        empty: the layout, which says what is left alone.
    """
    if model.quantization not in BITSANDBYTES:
        return {}
    four = {"bnb_4bit_compute_dtype": dtype} if model.quantization != "int8" else {}
    wanted = BITSANDBYTES[model.quantization] | four
    return {"quantization_config": _bitsandbytes(**wanted, llm_int8_skip_modules=unpacked_modules(empty))}


def _bitsandbytes(**options: Any) -> Any:
    """The configuration that transformers takes; its class has no types."""
    from transformers import BitsAndBytesConfig

    typed: Any = BitsAndBytesConfig
    return typed(**options)
