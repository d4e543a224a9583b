"""Weights that are published as one GGUF file, as llama.cpp reads them: dequantised by transformers, once.

    folder = dequantised(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))    # .scratch/gguf/0c97...: as a folder of the hub

Numbers stored as a few bits and a scale become float32, in a folder with config.json, tokenizer, chat template and
safetensors, which everything else reads as any published model.
"""

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunediff.runtime.errors import TunediffError, one_line
from tunediff.runtime.files import replacing
from tunediff.runtime.scratch import SCRATCH

SUFFIX = ".gguf"
# Holds a folder for each file, named by the file's SHA-256.
DEQUANTISED = SCRATCH / "gguf"


def the_gguf_file(folder: Path) -> Path | None:
    """The one GGUF file of a folder; None where there is none.

    Raises:
        TunediffError: there are several, such as a model in several precisions.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX) if folder.is_dir() else []
    if len(found) > 1:
        raise TunediffError(
            f"params.yaml: model.id: found {len(found)} GGUF files in {folder} ({found[0].name}, ...); expected the "
            "path of one of them with model.source folder"
        )
    return found[0] if found else None


def dequantised(file: Path) -> Path:
    """A folder with the weights of a GGUF file as float32 safetensors, its layout and its tokenizer; made once.

    Raises:
        TunediffError: the package gguf is missing, or transformers cannot read the file.
    """
    with file.open("rb") as opened:
        folder = DEQUANTISED / hashlib.file_digest(opened, "sha256").hexdigest()[:32]
    if folder.is_dir():
        return folder
    if find_spec("gguf") is None:
        raise TunediffError(f"{file}: requires the package gguf, which is not installed; pip install gguf")
    # Imported here: whoever has weights in safetensors needs no torch to find them.
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"{file}: dequantised to float32 in {folder}, once", file=sys.stderr)
    where = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    # A transformers that has it may keep the weights in their few bits, which it cannot save.
    kept: Any = getattr(transformers, "GgufConfig", None)
    plain = {"quantization_config": kept(dequantize=True)} if kept else {}
    try:
        read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where, **plain)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
    # Files from outside: gguf, tokenizers and transformers each say in their own way what is wrong with them.
    except Exception as error:
        raise TunediffError(f"{file}: cannot be loaded: {one_line(error)}") from None
    # transformers saves no model that it holds for a quantised one.
    vars(read.config).pop("quantization_config", None)
    network = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    network.load_state_dict(read.state_dict())
    network.generation_config = read.generation_config
    with replacing(folder) as new:
        network.save_pretrained(new)
        tokenizer.save_pretrained(new)
    return folder
