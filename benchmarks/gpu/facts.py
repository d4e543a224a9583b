"""What the machine is: versions, rates, and whether bitsandbytes computes there. A JSON line each.

    python benchmarks/gpu/facts.py [--rate FILE]      # the matrix rate in operations a second goes to the file too

On a GPU in bfloat16 and at full size; elsewhere in float32 and small, to try the script. What fails is said, and the
others go on; then the exit code is 1.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from work import SIDE, matrix_rate, seconds_of

NAMES = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "trl", "lm_eval")
SMI = "name,driver_version,memory.total,clocks.sm,power.limit"
ON_GPU = torch.cuda.is_available()
DEVICE, DTYPE = ("cuda", torch.bfloat16) if ON_GPU else ("cpu", torch.float32)
ROWS, COLUMNS, TOKENS = (10240, 2560, 800) if ON_GPU else (512, 256, 32)


def main() -> None:
    """Print a line for each thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=Path, help="file for the matrix rate")
    file = parser.parse_args().rate
    failed = False
    parts: tuple[Callable[[], dict[str, Any]], ...] = (machine, lambda: rate(file), copies, nf4, linear4bit, optimizer)
    for name, part in zip(("machine", "matrix_rate", "copies", "nf4", "linear4bit", "optimizer"), parts, strict=True):
        try:
            found = part()
        except Exception as error:
            found = {"ok": False, "failed": f"{type(error).__name__}: {error}"[:600]}
        failed |= found.get("ok") is False
        print(json.dumps({"facts": name, **found}), flush=True)
    sys.exit(failed)


def machine() -> dict[str, Any]:
    """The card and the versions."""
    found: dict[str, Any] = {"python": platform.python_version(), "device": DEVICE}
    for name in NAMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    if ON_GPU:
        card = torch.cuda.get_device_properties(0)
        found |= {"device": card.name, "capability": f"{card.major}.{card.minor}", "cuda": torch.version.cuda}
        found |= {"memory_gib": round(card.total_memory / 2**30, 1), "bfloat16": torch.cuda.is_bf16_supported()}
    if shutil.which("nvidia-smi"):
        asked = subprocess.run(["nvidia-smi", f"--query-gpu={SMI}", "--format=csv"], capture_output=True, text=True)
        found["nvidia_smi"] = asked.stdout.strip().splitlines()
    return found


def rate(file: Path | None) -> dict[str, Any]:
    """Operations a second of a product of two square matrices."""
    found = matrix_rate(DTYPE)
    if file is not None:
        file.write_text(str(found))
    return {"side": SIDE, "dtype": str(DTYPE), "tflops": round(found / 1e12, 2)}


def copies() -> dict[str, Any]:
    """Bytes a second on the device, read and written, and to it."""
    n = 2**30 if ON_GPU else 2**26
    here = torch.zeros(n, dtype=torch.int8)
    there, other = (torch.zeros(n, dtype=torch.int8, device=DEVICE) for _ in range(2))
    on, to = (min(seconds_of(lambda one=one: there.copy_(one)) for _ in range(4)) for one in (other, here))
    return {"bytes": n, "on_the_device_gb_per_second": round(2 * n / on / 1e9, 1), "to_it": round(n / to / 1e9, 1)}


def nf4() -> dict[str, Any]:
    """NF4 there and back: of blocks of 64 normal weights, some 0.095 are lost."""
    from bitsandbytes import functional

    weight = torch.randn(ROWS, COLUMNS, device=DEVICE, dtype=DTYPE)
    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    error = relative(functional.dequantize_4bit(packed, state), weight)
    took = min(seconds_of(lambda: functional.dequantize_4bit(packed, state)) for _ in range(6))
    return {"relative_error": error, "dequantise_weights_per_second": ROWS * COLUMNS / took, "ok": error < 0.12}


def linear4bit() -> dict[str, Any]:
    """A layer in NF4, forward and backward, against the same weights unpacked."""
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(COLUMNS, ROWS, bias=False, compute_dtype=DTYPE, quant_type="nf4")
    values = torch.randn(ROWS, COLUMNS, dtype=DTYPE) / COLUMNS**0.5
    layer.weight = bnb.nn.Params4bit(values, requires_grad=False, quant_type="nf4")
    layer = layer.to(DEVICE)
    plain = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(DTYPE)
    x = torch.randn(TOKENS, COLUMNS, device=DEVICE, dtype=DTYPE, requires_grad=True)
    gradient = torch.randn(TOKENS, ROWS, device=DEVICE, dtype=DTYPE)
    y = layer(x)
    y.backward(gradient)
    forward = relative(y.detach(), x.detach().double() @ plain.double().T)
    backward = relative(x.grad, gradient.double() @ plain.double())
    took = min(seconds_of(lambda: layer(x).backward(gradient)) for _ in range(6))
    alone = min(seconds_of(lambda: torch.nn.functional.linear(x, plain).backward(gradient)) for _ in range(6))
    found = {"forward_error": forward, "backward_error": backward, "seconds": took, "seconds_unpacked": alone}
    return found | {"ok": forward < 1e-2 and backward < 1e-2}


def optimizer() -> dict[str, Any]:
    """Three steps of 0.001 of the optimizer of system A, or of torch's where there is no GPU."""
    import bitsandbytes as bnb

    weight = torch.nn.Parameter(torch.randn(512, 512, device=DEVICE))
    before = weight.detach().clone()
    kind = bnb.optim.PagedAdamW8bit if ON_GPU else torch.optim.AdamW
    adam = kind([weight], lr=1e-3)
    for _ in range(3):
        (weight**2).sum().backward()
        adam.step()
        adam.zero_grad()
    moved = float((weight.detach() - before).abs().mean())
    return {"optimizer": kind.__name__, "moved": moved, "ok": 1e-3 < moved < 4e-3}


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """How far two matrices are apart, by the norm of the second."""
    return float((one.double() - other.double()).norm() / other.double().norm())


if __name__ == "__main__":
    main()
