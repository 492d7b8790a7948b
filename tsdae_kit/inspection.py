"""Looks into a run: a sentence, its noisy form, what the decoder rebuilds of it, and its neighbours in the corpus.

``python -m tsdae_kit inspect RUN --text "..."``. Sentences are rebuilt by encoder and decoder of the best step's
checkpoint (the final model has no decoder any more); neighbours are the final model's, once there is one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from tsdae_kit.console import quiet_frameworks, show_messages
from tsdae_kit.errors import KitError
from tsdae_kit.options import make_main, make_settings
from tsdae_kit.processes import once
from tsdae_kit.settings import InspectSettings, TrainSettings

logger = logging.getLogger("tsdae_kit")


@dataclass(frozen=True)
class Inspection:
    """What a run makes of a sentence.

    Attributes:
        text: The sentence.
        noisy: With the run's noise, that of its first epoch.
        rebuilt: From the noisy sentence's embedding alone.
        neighbours: Cosine similarity and text of the nearest among those trained on, by the final model, or by the
            checkpoint's encoder while the run has none.
    """

    text: str
    noisy: str
    rebuilt: str
    neighbours: list[tuple[float, str]]


def inspect_run(**given: Any) -> list[Inspection]:
    """Return what a run of stage one makes of sentences.

    Args:
        **given: Fields of :class:`tsdae_kit.settings.InspectSettings`, for example
            ``run="runs/tsdae", text=["The doctor treats a rash."]``.

    Raises:
        KitError: If the folder holds no run of stage one or no checkpoint, or its corpus is not there.
    """
    settings = make_settings(InspectSettings, given)
    with show_messages():
        found = once("inspect", lambda: _inspect(settings))
        for entry in found:
            lines = [f"text     {entry.text}", f"noisy    {entry.noisy}", f"rebuilt  {entry.rebuilt}"]
            lines += [f"  {score:.2f}   {text}" for score, text in entry.neighbours]
            logger.info("\n%s", "\n".join(lines))
    return found


def _inspect(settings: InspectSettings) -> list[Inspection]:
    from tsdae_kit.denoising.rebuild import rebuild
    from tsdae_kit.text.pairs import load_pairs, spread
    from tsdae_kit.training.checkpoints import step_of
    from tsdae_kit.training.models import choose_device, load_encoder
    from tsdae_kit.training.neighbours import find_neighbours
    from tsdae_kit.training.outcome import REBUILT, find_decoder, load_trained
    from tsdae_kit.training.prompts import text_prompt
    from tsdae_kit.training.runs import FINAL, read_record, recorded_settings

    record = read_record(settings.run)
    if record is None or "data" not in record["settings"]:
        raise KitError(f"{settings.run} holds no run of stage one, whose decoder rebuilds. Name the folder of one.")
    by_hand = {"output": settings.run, "trust_remote_code": settings.trust_remote_code}
    trained = make_settings(TrainSettings, {**recorded_settings(record, TrainSettings), **by_hand})
    corpus = load_pairs(settings.data or trained.data, settings.noise)
    checkpoint = find_decoder(settings.run, record)
    device = choose_device(settings.device)
    with quiet_frameworks():
        loss = load_trained(trained, checkpoint, device)
    logger.info("%s, step %d.", settings.run, step_of(checkpoint))
    shown = corpus.held_out if corpus.held_out_size else corpus.train
    texts = list(settings.text) or shown[spread(len(shown), REBUILT)]["clean"]
    noisy = [corpus.noise(text) for text in texts]
    searched = corpus.train[spread(corpus.size, settings.searched)]["clean"]
    rebuilt = rebuild(loss, noisy, texts, text_prompt(loss.encoder))
    final = settings.run / FINAL
    with quiet_frameworks():
        encoder = load_encoder(str(final), device, trained.trust_remote_code) if final.is_dir() else loss.encoder
    neighbours = find_neighbours(encoder, texts, searched, settings.nearest)
    return [Inspection(*parts) for parts in zip(texts, noisy, rebuilt, neighbours, strict=True)]


main = make_main(
    "inspect",
    inspect_run,
    InspectSettings,
    "Show what a run's encoder and decoder make of sentences, and their neighbours in the corpus.",
)


if __name__ == "__main__":
    main()
