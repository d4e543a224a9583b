"""How much of the device's matrix rate a side uses: the tokens that go through its model, and the memory it needs.

with watched(model, pad_id) as seen:
    ours()
utilisation(model, seen, per_weight=2)      # 2 operations a weight and token forward, 4 with a frozen base's backward
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch import nn

# Of two square matrices whose product is timed, large enough that the device is at its best.
SIDE = 8192 if torch.cuda.is_available() else 4096


@contextmanager
def watched(model: nn.Module, pad: int) -> Iterator[SimpleNamespace]:
    """What goes through a model inside the block: `tokens` (padding not counted), `seconds`, on a GPU `peak_gib`."""
    seen = SimpleNamespace(tokens=0, seconds=0.0, peak_gib=None)

    def count(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        # Added up on the device: nothing waits for it.
        seen.tokens = seen.tokens + (inputs[0] != pad).sum()

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    hook = model.get_input_embeddings().register_forward_pre_hook(count)
    start = time.perf_counter()
    try:
        yield seen
    finally:
        hook.remove()
    seen.tokens = int(seen.tokens)
    seen.seconds = time.perf_counter() - start
    if on_gpu:
        seen.peak_gib = round(torch.cuda.max_memory_allocated() / 2**30, 2)


def utilisation(model: nn.Module, seen: SimpleNamespace, per_weight: int) -> dict[str, object]:
    """What the layers' weights took of the device's matrix rate (0..1), the rate, and the peak of its memory.

    Args:
        model: all its linear layers count, but for the output layer, which reads few tokens.
        seen: by `watched`.
        per_weight: operations for each weight and token.
    """
    output = model.get_output_embeddings()
    layers = [one for one in model.modules() if isinstance(one, nn.Linear) and one is not output]
    weights = sum(one.in_features * one.out_features for one in layers)
    rate = matrix_rate(model.config.dtype)
    share = per_weight * weights * seen.tokens / seen.seconds / rate
    found = {"utilisation": round(share, 3), "matrix_rate_tflops": round(rate / 1e12, 2), "tokens": seen.tokens}
    return found | ({} if seen.peak_gib is None else {"peak_gpu_memory_gib": seen.peak_gib})


def matrix_rate(dtype: torch.dtype) -> float:
    """Operations a second of a product of two square matrices, the best of six times."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.randn(SIDE, SIDE, dtype=dtype, device=device) for _ in range(2))
    return 2 * SIDE**3 / min(seconds_of(lambda: a @ b) for _ in range(6))


def seconds_of(call: Callable[[], object]) -> float:
    """What a call took, on a GPU by its own clock: the host only hands work over."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
