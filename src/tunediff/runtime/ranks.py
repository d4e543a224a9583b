"""Which of several processes of a stage this is, as its environment says; `tunediff.runtime.processes` starts them.

first()        # True: this one writes and prints, the first of several or the only one
"""

import os

# Of a stage: how many hosts there are, which one this is, where they meet. Of each process: how many there are, and the
# id of the one that started them on this host.
HOSTS, HOST, ADDRESS = "TUNEDIFF_HOSTS", "TUNEDIFF_HOST", "TUNEDIFF_ADDRESS"
PROCESSES, PARENT = "TUNEDIFF_PROCESSES", "TUNEDIFF_PARENT"


def first() -> bool:
    """Whether this process is the one that writes and prints: the first of several, or the only one."""
    return PROCESSES not in os.environ or os.environ.get("RANK", "0") == "0"
