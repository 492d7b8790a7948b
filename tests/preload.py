"""Imports all that a run needs and hides it from the garbage collector; the fork server does so before its first child.

Every run collects twice, and going through the libraries' objects took a quarter of a second each time.
"""

import gc
from importlib import import_module

for name in ("finetune", "training.runner", "training.trainer", "training.tsdae_task", "tsdae.loss"):
    import_module(f"tsdae_kit.{name}")


def hide_from_collector() -> None:
    """Take all that is there by now out of every later collection."""
    gc.collect()
    gc.freeze()


hide_from_collector()
