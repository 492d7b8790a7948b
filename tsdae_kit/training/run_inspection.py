"""Looks into a run: a sentence, its noisy form, what the decoder rebuilds of it, and its neighbours in the corpus.

``python -m tsdae_kit inspect RUN --text "..."``. Sentences are rebuilt by encoder and decoder of the best step's
checkpoint (the final model has no decoder any more); neighbours are the final model's, once there is one.
"""

from __future__ import annotations

import logging

from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.settings.finished_models import InspectSettings
from tsdae_kit.config.settings.training import TrainSettings
from tsdae_kit.corpus.dataset import load_prepared
from tsdae_kit.corpus.sampling import evenly_spaced
from tsdae_kit.errors import KitError
from tsdae_kit.framework_output import quiet_frameworks
from tsdae_kit.models.devices import choose_device
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.models.nearest_neighbours import find_nearest_neighbours
from tsdae_kit.models.prompts import text_prompt
from tsdae_kit.run_folder import RunFolder, checkpoint_step
from tsdae_kit.training.measurements import find_decoder, load_loss
from tsdae_kit.training.resuming import recorded_settings
from tsdae_kit.training.task import REBUILT_SENTENCES
from tsdae_kit.tsdae.reconstruction import reconstruct

logger = logging.getLogger("tsdae_kit")


def inspect(settings: InspectSettings) -> list[tuple[str, str, str, list[tuple[float, str]]]]:
    """Return each sentence, its noisy form, what is rebuilt of it, and its nearest training sentences."""
    run_folder = RunFolder(settings.run)
    record = run_folder.read_record()
    if record is None or record["task"] != "tsdae":
        raise KitError(f"{settings.run} holds no run of stage one, whose decoder rebuilds. Name the folder of one.")
    overrides = {"output": settings.run, "trust_remote_code": settings.trust_remote_code}
    trained = make_settings(TrainSettings, {**recorded_settings(record, TrainSettings), **overrides})
    corpus = load_prepared(settings.data or trained.data, settings.noise)
    checkpoint = find_decoder(run_folder, record)
    device = choose_device(settings.device)
    with quiet_frameworks():
        loss = load_loss(trained, checkpoint, device)
    logger.info("%s, step %d.", settings.run, checkpoint_step(checkpoint))
    shown = corpus.held_out if corpus.held_out_size else corpus.train
    texts = list(settings.text) or shown[evenly_spaced(len(shown), REBUILT_SENTENCES)]["clean"]
    noisy = [corpus.noise(text) for text in texts]
    searched = corpus.train[evenly_spaced(corpus.size, settings.searched)]["clean"]
    rebuilt = reconstruct(loss, noisy, texts, text_prompt(loss.encoder))
    final = run_folder.final
    with quiet_frameworks():
        encoder = load_encoder(str(final), device, trained.trust_remote_code) if final.is_dir() else loss.encoder
    neighbours = find_nearest_neighbours(encoder, texts, searched, settings.nearest)
    return list(zip(texts, noisy, rebuilt, neighbours, strict=True))
