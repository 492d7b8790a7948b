"""Turns a run's settings into the library's training arguments."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import yaml
from sentence_transformers import SentenceTransformerTrainingArguments
from transformers.integrations.integration_utils import get_available_reporting_integrations

from tsdae_kit.errors import KitError, first_line
from tsdae_kit.options import describe
from tsdae_kit.settings import RunSettings
from tsdae_kit.training.batches import LengthGroupedBatchSampler

_BREAK_THE_RUN = {
    "auto_find_batch_size", "dataloader_drop_last", "ignore_data_skip", "push_to_hub", "resume_from_checkpoint",
    "save_only_model",
}  # fmt: skip


def training_arguments(
    settings: RunSettings, device: str, evaluates: bool, stage: Mapping[str, Any] | None = None
) -> SentenceTransformerTrainingArguments:
    """Return the arguments, with the extra ones of ``--trainer``.

    Args:
        settings: The run's, resolved.
        device: The type of the device the encoder is on.
        evaluates: Whether there is something held out.
        stage: What the stage gives them, unless ``--trainer`` says otherwise.

    Raises:
        KitError: If an extra argument is unknown, has a flag of its own or an impossible value.
    """
    ours = {
        "output_dir": str(settings.output),
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps or -1,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": settings.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "learning_rate": settings.learning_rate,
        "bf16": settings.precision == "bf16",
        "fp16": settings.precision == "fp16",
        "use_cpu": device == "cpu",
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        "save_total_limit": settings.save_total_limit,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": settings.eval_steps,
        "logging_steps": settings.logging_steps,
        "dataloader_num_workers": settings.workers or 0,
        "dataloader_pin_memory": device == "cuda",
        "seed": settings.seed,
        "report_to": settings.report_to,
        "disable_tqdm": True,
    }
    defaults = {"batch_sampler": LengthGroupedBatchSampler, **(stage or {})}
    if settings.report_to not in ("none", *get_available_reporting_integrations()):
        raise KitError(
            f"--report-to {settings.report_to} needs a package. Install it: pip install {settings.report_to}."
        )
    extra = _parse_extra(settings.trainer, taken=set(ours))
    try:
        arguments = SentenceTransformerTrainingArguments(**{**defaults, **ours, **extra})
    except (TypeError, ValueError) as error:
        raise KitError(f"The trainer refuses its arguments: {first_line(error)}. Check --trainer.") from error
    arguments.dataloader_drop_last = False  # the library drops a short batch where there are several processes
    return arguments


def _parse_extra(pairs: tuple[str, ...], taken: set[str]) -> dict[str, Any]:
    hints = get_type_hints(SentenceTransformerTrainingArguments)
    known = {field.name for field in fields(SentenceTransformerTrainingArguments) if field.init}
    extra, problems = {}, []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            problems.append(f"--trainer {pair!r} is not KEY=VALUE")
        elif key in _BREAK_THE_RUN:
            problems.append(f"--trainer {key} would break the run's checkpoints or its count of steps")
        elif key in taken:
            problems.append(f"--trainer {key} is set by a flag of its own")
        elif key not in known:
            near = ", ".join(difflib.get_close_matches(key, known)) or "see SentenceTransformerTrainingArguments"
            problems.append(f"--trainer {key!r} is no training argument (near: {near})")
        elif not _fits(value := _parse_value(text), hints[key]):
            problems.append(f"--trainer {key} takes {describe(hints[key])}, not {text!r}")
        else:
            extra[key] = value
    if problems:
        raise KitError(". ".join(problems) + ".")
    return extra


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value has the type of a number or switch; what else there is, the framework checks itself."""
    kinds = set(get_args(hint)) or {hint}
    if not kinds <= {int, float, bool, type(None)}:
        return True
    return type(value) in kinds or (type(value) is int and float in kinds)


def _parse_value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    try:
        return float(value) if isinstance(value, str) else value  # YAML takes 1e-3 for text
    except ValueError:
        return value
