"""Whether memory ran out, on whichever device."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch says with this error that memory ran out, on a GPU or on the CPU."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, which need not be installed
        or "out of memory" in text
        or "can't allocate memory" in text
    )
