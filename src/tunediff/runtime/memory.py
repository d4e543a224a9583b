"""Detect out-of-memory errors on any device."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this error of Python or torch means that memory ran out, on a GPU or on the CPU."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # of torch, by name because torch may not be installed
        or "out of memory" in text
        or "can't allocate memory" in text
    )
