"""Command finetune: fine-tunes an encoder on labelled pairs. ``python -m tsdae_kit.finetune pairs.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.keywords import keywords_of
from tsdae_kit.config.python_objects import DatasetLike
from tsdae_kit.config.settings.fine_tuning import FineTuneSettings


@keywords_of(FineTuneSettings, model="SentenceTransformer")
def fine_tune(*, pairs: Sequence[Mapping[str, object]] | DatasetLike | None = None, **settings: object) -> Path:
    """Fine-tune an encoder on labelled pairs; return the folder of the fine-tuned model.

    The objective follows from the columns of each file. A run is resumed, stopped and written as those of
    :func:`tsdae_kit.adapt` are.

    Args:
        pairs: Rows as ``{"anchor": ..., "positive": ...}`` or a ``datasets.Dataset``, instead of ``files``; to be
            passed again to a resumed run.
        **settings: The fields of :class:`tsdae_kit.config.settings.FineTuneSettings`.

    Raises:
        KitError: For files without labelled pairs, a missing model, a folder in use, or settings that
            contradict the run's record.
        NoGain: With ``require_gain``, if no step scored above the model it began with.
        RunStopped: If a signal ended the run, its state saved; not an ``Exception``.
    """
    from tsdae_kit.training.pairs_task import fine_tune_encoder  # torch: --help must not wait for it

    return fine_tune_encoder(pairs, settings)


main = make_main(
    "finetune", fine_tune, FineTuneSettings, "Fine-tune an encoder on labelled pairs; resume an interrupted run."
)


if __name__ == "__main__":
    main()
