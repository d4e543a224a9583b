"""The precision of weights: quantized by bitsandbytes at load time, or as stored in a checkpoint.

    check_precision(config, "stored", "model.quantization", weights)     # before anything is downloaded or computed
    network = head.from_pretrained(weights, **packing_options(model, dtype, empty))

Weights that are stored as GPTQ, AWQ, compressed-tensors, FP8 and the like are loaded by transformers with the package
that each format needs; its own checks report a missing package or GPU.
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
    """Return `cuda` if there is a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def stored_quantization(config: Mapping[str, Any]) -> str | None:
    """Return the quantization of a checkpoint by its config.json: nf4, fp4, int8, gptq, ..., or None."""
    stored = config.get("quantization_config")
    if stored is None:
        return None
    if not isinstance(stored, dict):
        raise TunediffError(f"config.json: quantization_config: found {shown(stored)}, expected an object")
    if stored.get("load_in_4bit"):
        return str(stored.get("bnb_4bit_quant_type", "fp4"))
    return "int8" if stored.get("load_in_8bit") else str(stored.get("quant_method"))


def check_precision(config: Mapping[str, Any], quantization: str, key: str, weights: Path) -> None:
    """Refuse a precision that the weights are not stored in, or that this machine does not support.

    Args:
        config: the layout, as in config.json; no weights are read.
        quantization: the quantization in params.yaml.
        key: its key in params.yaml.
        weights: folder of the weights, for errors.

    Raises:
        TunediffError: the precision is not available.
    """
    stored = stored_quantization(config)
    if stored is None and quantization == "stored":
        raise TunediffError(
            f"params.yaml: {key}: found stored, but the weights in {weights} are not quantized; expected none, "
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
        with _silenced():
            quantizers: Any = AutoHfQuantizer
            if stored is not None and not quantizers.supports_quant_method(wanted):
                raise ValueError(f"transformers does not support the method {shown(wanted.get('quant_method'))}")
            quantization_config = dict(wanted) if stored is not None else _bitsandbytes(**wanted)
            quantizer = quantizers.from_config(quantization_config, pre_quantized=stored is not None)
            quantizer.validate_environment(device_map={"": device()}, dtype=None)
    # Quantizers raise errors of many types for a missing package, GPU or version.
    except Exception as error:
        raise TunediffError(
            f"params.yaml: {key}: found {quantization}, but weights in {stored or quantization} cannot be loaded here: "
            f"{one_line(error)}"
        ) from None


@contextmanager
def _silenced() -> Iterator[None]:
    """Silence the warnings of transformers; the loaded model is inspected anyway."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def packing_options(model: Model, dtype: torch.dtype, empty: PreTrainedModel) -> dict[str, Any]:
    """Return the options of `from_pretrained` with which bitsandbytes quantizes the weights; empty if it does not.

    Args:
        model: the section model.
        dtype: dtype of the computation.
        empty: the layout without weights, to find the modules to skip.
    """
    if model.quantization not in BITSANDBYTES:
        return {}
    four_bit = {"bnb_4bit_compute_dtype": dtype} if model.quantization != "int8" else {}
    options = BITSANDBYTES[model.quantization] | four_bit
    return {"quantization_config": _bitsandbytes(**options, llm_int8_skip_modules=unpacked_modules(empty))}


def _bitsandbytes(**options: Any) -> Any:
    from transformers import BitsAndBytesConfig

    untyped: Any = BitsAndBytesConfig
    return untyped(**options)
