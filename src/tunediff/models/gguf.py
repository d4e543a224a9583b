"""Models that are published as a GGUF file, the format of llama.cpp, dequantized by transformers.

    folder = dequantize(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))    # .scratch/gguf/0c97...: as a folder of the hub

The result is a folder with config.json, tokenizer, chat template and float32 safetensors, which is loaded like any
published model.
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
# Has a folder per file, named by the file's SHA-256.
DEQUANTIZED = SCRATCH / "gguf"


def find_gguf_file(folder: Path) -> Path | None:
    """Return the GGUF file in a folder, or None.

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


def dequantize(file: Path) -> Path:
    """Return a folder with the dequantized model of a GGUF file, which is created on the first call.

    Raises:
        TunediffError: the package gguf is missing, or transformers cannot read the file.
    """
    with file.open("rb") as opened:
        folder = DEQUANTIZED / hashlib.file_digest(opened, "sha256").hexdigest()[:32]
    if folder.is_dir():
        return folder
    if find_spec("gguf") is None:
        raise TunediffError(f"{file}: requires the package gguf, which is not installed; pip install gguf")
    # Imported here, because torch is not needed to find weights in safetensors.
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"{file}: dequantizing to float32 in {folder}", file=sys.stderr)
    options = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    # Newer versions of transformers would keep the weights quantized, and cannot save them then.
    gguf_config: Any = getattr(transformers, "GgufConfig", None)
    plain = {"quantization_config": gguf_config(dequantize=True)} if gguf_config else {}
    try:
        read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options, **plain)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    # gguf, tokenizers and transformers raise errors of many types for invalid files.
    except Exception as error:
        raise TunediffError(f"{file}: cannot be loaded: {one_line(error)}") from None
    # transformers refuses to save a model that its config calls quantized.
    vars(read.config).pop("quantization_config", None)
    network = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    network.load_state_dict(read.state_dict())
    network.generation_config = read.generation_config
    with replacing(folder) as new:
        network.save_pretrained(new)
        tokenizer.save_pretrained(new)
    return folder
