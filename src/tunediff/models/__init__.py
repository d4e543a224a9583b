"""Models: found, pinned, loaded, adapted, counted and published."""

import logging
import os
import warnings

# Silence notes of the libraries that do not concern the user's run, before they are imported. Errors are still shown.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
