"""Command inspect: shows what a run's model makes of sentences. ``python -m tsdae_kit inspect RUN --text "..."``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tsdae_kit.config.command_line import make_main, make_settings
from tsdae_kit.config.settings import InspectSettings
from tsdae_kit.console import logger, show_messages
from tsdae_kit.distributed import on_rank_0


@dataclass(frozen=True)
class Inspection:
    """What a run's model makes of one sentence.

    Attributes:
        text: The sentence.
        noisy: The sentence with the run's noise of the first epoch.
        rebuilt: What the decoder makes of the noisy sentence's embedding.
        neighbours: Cosine similarity and text of the nearest training sentences, by the final model, or by the
            checkpoint's encoder while the run has no final model.
    """

    text: str
    noisy: str
    rebuilt: str
    neighbours: list[tuple[float, str]]


def inspect_run(**given: Any) -> list[Inspection]:
    """Return what the model of a TSDAE run makes of sentences.

    Args:
        **given: Fields of :class:`tsdae_kit.config.settings.InspectSettings`, for example
            ``run="runs/tsdae", text=["The doctor treats a rash."]``.

    Raises:
        KitError: If the folder holds no TSDAE run or no checkpoint, or its corpus is missing.
    """
    settings = make_settings(InspectSettings, given)
    from tsdae_kit.training.run_inspection import inspect  # torch: after parsing

    with show_messages():
        found = on_rank_0(lambda: [Inspection(*values) for values in inspect(settings)], "inspect")
        for entry in found:
            lines = [f"text     {entry.text}", f"noisy    {entry.noisy}", f"rebuilt  {entry.rebuilt}"]
            lines += [f"  {score:.2f}   {text}" for score, text in entry.neighbours]
            logger.info("\n%s", "\n".join(lines))
    return found


main = make_main(
    "inspect",
    inspect_run,
    InspectSettings,
    "Show what a run's encoder and decoder make of sentences, and their neighbours in the corpus.",
)


if __name__ == "__main__":
    main()
