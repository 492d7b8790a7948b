"""Command inspect: shows what a run's model makes of sentences. ``python -m tsdae_kit inspect RUN --text "..."``."""

from __future__ import annotations

from dataclasses import dataclass

from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.keywords import keywords_of
from tsdae_kit.config.settings.finished_models import InspectSettings
from tsdae_kit.console import logger, show_messages
from tsdae_kit.distributed import on_rank_0


@dataclass(frozen=True)
class Inspection:
    """One sentence as a run's model sees it.

    Attributes:
        text: The sentence.
        noisy: The sentence with the run's noise of the first epoch.
        rebuilt: The decoder's reconstruction from the noisy sentence's embedding.
        neighbours: Cosine similarity and text of the nearest training sentences, by the final model, or by the
            checkpoint's encoder while the run has no final model.
    """

    text: str
    noisy: str
    rebuilt: str
    neighbours: list[tuple[float, str]]


@keywords_of(InspectSettings)
def inspect_run(**settings: object) -> list[Inspection]:
    """Return reconstructions and nearest neighbours of sentences by the model of a TSDAE run.

    Args:
        **settings: The fields of :class:`tsdae_kit.config.settings.InspectSettings`.

    Raises:
        KitError: If the folder holds no TSDAE run or no checkpoint, or its corpus is missing.
    """
    resolved = make_settings(InspectSettings, settings)

    def run() -> list[Inspection]:
        from tsdae_kit.training.run_inspection import inspect  # torch: --help must not wait for it

        return [Inspection(*values) for values in inspect(resolved)]

    with show_messages():
        inspections = on_rank_0(run, "inspect")
        for entry in inspections:
            lines = [f"text     {entry.text}", f"noisy    {entry.noisy}", f"rebuilt  {entry.rebuilt}"]
            lines += [f"  {score:.2f}   {text}" for score, text in entry.neighbours]
            logger.info("\n%s", "\n".join(lines))
    return inspections


main = make_main(
    "inspect",
    inspect_run,
    InspectSettings,
    "Show what a run's encoder and decoder make of sentences, and their neighbours in the corpus.",
)


if __name__ == "__main__":
    main()
