"""Command train: adapts an encoder to prepared text (TSDAE), or resumes such a run. ``python -m tsdae_kit.train``."""

from __future__ import annotations

from pathlib import Path

from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.keywords import keywords_of
from tsdae_kit.config.settings.training import TrainSettings


@keywords_of(TrainSettings, model="SentenceTransformer")
def adapt(**settings: object) -> Path:
    """Adapt an encoder to its field's text; return the folder of the adapted model.

    ``resume=True`` continues the run of the output folder (or begins one). ``model="runs/tsdae/final"`` with another
    ``output`` begins a new run from a trained model. A ``SentenceTransformer`` is saved as ``<output>-base`` first.

    Args:
        **settings: The fields of :class:`tsdae_kit.config.settings.TrainSettings`.

    Raises:
        KitError: For missing data or model, a folder in use, or settings that contradict the run's record.
        NoGain: With ``require_gain``, if no step scored above the base model; ``final/`` is that model then.
        RunStopped: If a signal ended the run, its state saved; not an ``Exception``.
    """
    from tsdae_kit.training.tsdae_task import adapt_encoder  # torch: --help must not wait for it

    return adapt_encoder(settings)


main = make_main(
    "train", adapt, TrainSettings, "Adapt a sentence encoder to prepared text (TSDAE); resume an interrupted run."
)


if __name__ == "__main__":
    main()
