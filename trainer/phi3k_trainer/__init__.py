"""The trainer of phi3k: everything that fine-tunes Phi-3-Vision, here and on GPUs."""

import logging

# peft imports bitsandbytes, which warns of a missing optional CPU kernel even where nothing is quantised.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
