"""Command finetune: fine-tunes an encoder on labelled pairs. ``python -m tsdae_kit.finetune pairs.jsonl``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.settings import FineTuneSettings


def fine_tune(**explicit: Any) -> Path:
    """Fine-tune an encoder on labelled pairs; return the folder of the fine-tuned model.

    The objective follows from the columns of each file. A run is resumed, stopped and written as those of
    :func:`tsdae_kit.adapt` are.

    Args:
        **explicit: Fields of :class:`tsdae_kit.config.settings.FineTuneSettings`, for example
            ``files=["pairs.jsonl"], model="runs/tsdae/final", output="runs/finetuned"``.

    Raises:
        KitError: For files without labelled pairs, a missing model, a folder in use, or settings that
            contradict the run's record.
        NoGain: With ``require_gain``, if no step scored above the model it began with.
        RunStopped: If a signal ended the run, its state saved; not an ``Exception``.
    """
    from tsdae_kit.training.pairs_task import PairsTask  # torch: after parsing
    from tsdae_kit.training.runner import run_task

    return run_task(PairsTask(), explicit)


main = make_main(
    "finetune", fine_tune, FineTuneSettings, "Fine-tune an encoder on labelled pairs; resume an interrupted run."
)


if __name__ == "__main__":
    main()
