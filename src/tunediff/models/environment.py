"""The environment of a model: what its results depend on besides code, data and parameters.

    environment(loaded.model)
    # {"torch": "2.13.0+cpu", "transformers": "5.23.0", "peft": "0.21.0", "bitsandbytes": "0.50.0",
    #  "device": "AMD EPYC 7763 64-Core Processor, AVX2", "threads": "4", "attention": "sdpa", "dtype": "float32"}

In equal environments a model gives bit-equal predictions; in different ones it may round differently. The environment
is written to the prediction files and to metrics/environment/STAGE.json.
"""

from importlib.metadata import version

import torch

from tunediff.models.load import Network
from tunediff.models.precision import device
from tunediff.runtime.cost import processor

LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")


def environment(network: Network) -> dict[str, str]:
    """Return the versions of the libraries, the device, the attention kernel and the dtype of a loaded model.

    On the CPU, the device is the processor with the instruction set that torch uses. The number of threads is included,
    because sums are computed in as many parts.
    """
    if device() == "cuda":
        hardware = {"device": torch.cuda.get_device_name()}
    else:
        instructions = torch.backends.cpu.get_cpu_capability()
        hardware = {"device": f"{processor()}, {instructions}", "threads": str(torch.get_num_threads())}
    return {
        **{name: version(name) for name in LIBRARIES},
        **hardware,
        "attention": str(network.config._attn_implementation),
        "dtype": str(network.dtype).removeprefix("torch."),
    }
