"""Whether memory ran out, on whichever device."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says with this error that memory ran out, on a GPU or on the CPU."""
    text = str(error)
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "out of memory" in text
        or "can't allocate memory" in text
    )
