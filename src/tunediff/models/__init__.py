"""Models: loaded from where they are pinned, adapted, counted."""

import logging
import os
import warnings

# Before any of them is imported: the libraries below print notes that are about them and not about the user's run.
# Errors still come through.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
