"""Where a model computes: what its figures depend on beside code, data and parameters.

    environment(loaded.model)
    # {"torch": "2.13.0+cpu", "transformers": "5.23.0", "peft": "0.21.0", "bitsandbytes": "0.50.0",
    #  "device": "AMD EPYC 7763 64-Core Processor, AVX2", "threads": "4", "attention": "sdpa", "dtype": "float32"}

Where two of them are equal, one model gives the same predictions to the bit; where not, it may round differently.
It stands in the prediction file that an evaluation writes and in metrics/environment/STAGE.json.
"""

from importlib.metadata import version

import torch

from tunediff.models.load import Network
from tunediff.models.precision import device
from tunediff.runtime.cost import processor

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


def environment(network: Network) -> dict[str, str]:
    """The libraries, the device, the attention kernel and the type of number that a loaded model computes with.

    On the CPU the device is the processor with the instructions that torch uses of it, and there is the number of
    threads: sums are added up in as many parts.
    """
    if device() == "cuda":
        where = {"device": torch.cuda.get_device_name()}
    else:
        instructions = torch.backends.cpu.get_cpu_capability()
        where = {"device": f"{processor()}, {instructions}", "threads": str(torch.get_num_threads())}
    return {
        **{name: version(name) for name in LIBRARIES},
        **where,
        "attention": str(network.config._attn_implementation),
        "dtype": str(network.dtype).removeprefix("torch."),
    }
