"""The library's training arguments, from a run's settings and ``--trainer``."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import torch
import yaml
from accelerate.utils import DynamoBackend
from sentence_transformers import SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import BatchSamplers
from transformers import Trainer, get_scheduler
from transformers.integrations.integration_utils import get_available_reporting_integrations

from tsdae_kit.config.conversion import describe_type
from tsdae_kit.config.settings.training import RunSettings
from tsdae_kit.errors import KitError, first_line
from tsdae_kit.training.batch_samplers import LengthGroupedBatchSampler

_UNIONS = (Union, types.UnionType)
_ADVICE = {
    "--output says where": "output_dir",
    "--epochs says it": "num_train_epochs",
    "--max-steps says it": "max_steps",
    "--batch-size says it": "per_device_train_batch_size per_device_eval_batch_size",
    "train --batch-size auto finds the largest that fits": "auto_find_batch_size",
    "--gradient-accumulation-steps says it": "gradient_accumulation_steps",
    "--learning-rate says it": "learning_rate",
    "--precision says it": "bf16 fp16 bf16_full_eval fp16_full_eval",
    "--gradient-checkpointing does it": "gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing "
                                        "activation_checkpointing_kwargs",
    "--device says it": "use_cpu dataloader_pin_memory",
    "--workers says it": "dataloader_num_workers",
    "--seed says it": "seed data_seed",
    "--save-steps says when": "save_strategy save_steps",
    "--save-total-limit says it": "save_total_limit",
    "--eval-steps says when, and step 0 is evaluated too": "eval_strategy eval_steps eval_on_start",
    "--logging-steps says when": "logging_strategy logging_steps",
    "--report-to says it": "report_to",
    "with --eval-data the best step becomes the final model": "load_best_model_at_end metric_for_best_model "
                                                              "greater_is_better",
    "--push-to-hub NAME/MODEL does it": "push_to_hub hub_token hub_private_repo hub_model_id hub_strategy "
                                        "hub_always_push hub_revision",
    "--resume does it, to the bit": "resume_from_checkpoint ignore_data_skip restore_callback_states_from_checkpoint",
    "such a checkpoint could not be resumed; --save-total-limit saves space": "save_only_model",
    "SIGTERM saves a checkpoint already": "enable_jit_checkpoint",
    "one process writes the run's folder, for all of them": "save_on_each_node",
    "every text is trained on, and batches come in one order, so that a run can be resumed to the bit":
        "dataloader_drop_last dataloader_in_order",
    "each process holds the whole model here; start several with torchrun or accelerate launch":
        "deepspeed fsdp fsdp_config parallelism_config accelerator_config",
    "the run sets up its processes itself": "ddp_backend ddp_timeout ddp_find_unused_parameters ddp_bucket_cap_mb "
                                            "ddp_broadcast_buffers ddp_static_graph local_rank",
    "a step's loss is a mean over the tokens of all processes already": "average_tokens_across_devices",
    "prepare --noise makes the sentences noisy, and nothing the embeddings": "neftune_noise_alpha",
    "batches are made by length; batch_sampler says otherwise": "train_sampling_strategy length_column_name",
    "warmup_steps below 1 is a share of the run": "warmup_ratio",
    "the run shows its own messages": "log_level log_level_replica log_on_each_node disable_tqdm",
    "a line before the first step says what memory a step takes": "skip_memory_metrics",
    "it does not work with this loss": "debug",
    "it does nothing here": "label_smoothing_factor label_names remove_unused_columns prediction_loss_only do_train "
                            "do_eval do_predict eval_do_concat_batches eval_use_gather_object eval_accumulation_steps "
                            "include_for_metrics batch_eval_metrics use_cache use_liger_kernel liger_kernel_config "
                            "include_num_input_tokens_seen router_mapping",
}  # fmt: skip
# Fields that --trainer refuses, with the way that works: they would do nothing, break the run, or duplicate a flag.
REFUSED = {name: advice for advice, names in _ADVICE.items() for name in names.split()}
# Fields that work as in the library; a test finds the fields of a new version that are in neither set.
TAKEN = {
    "adam_beta1", "adam_beta2", "adam_epsilon", "batch_sampler", "dataloader_multiprocessing_context",
    "dataloader_persistent_workers", "dataloader_prefetch_factor", "eval_delay", "full_determinism",
    "learning_rate_mapping", "logging_first_step", "logging_nan_inf_filter", "lr_scheduler_kwargs",
    "lr_scheduler_type", "max_grad_norm", "multi_dataset_batch_sampler", "optim", "optim_args",
    "optim_target_modules", "project", "prompts", "run_name", "tf32", "torch_compile", "torch_compile_backend",
    "torch_compile_mode", "torch_empty_cache_steps", "trackio_bucket_id", "trackio_space_id",
    "trackio_static_space_id", "warmup_steps", "weight_decay",
}  # fmt: skip
_SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def training_arguments(
    settings: RunSettings, device: str, evaluates: bool, task_defaults: Mapping[str, Any] | None = None
) -> SentenceTransformerTrainingArguments:
    """Return the training arguments, with those of ``--trainer``.

    Args:
        settings: The run's, resolved.
        device: The type of the encoder's device.
        evaluates: Whether there is something to evaluate on.
        task_defaults: The task's, unless ``--trainer`` says otherwise.

    Raises:
        KitError: If an extra argument is unknown, has a flag of its own or an impossible value.
    """
    defaults = {"batch_sampler": LengthGroupedBatchSampler, **(task_defaults or {})}
    if settings.report_to not in ("none", *get_available_reporting_integrations()):
        raise KitError(
            f"--report-to {settings.report_to} needs a package. Install it: pip install {settings.report_to}."
        )
    extra = _parse_extra(settings.trainer)
    if isinstance(extra.get("learning_rate_mapping"), dict):  # with the decoder's
        extra["learning_rate_mapping"] = {**defaults.get("learning_rate_mapping", {}), **extra["learning_rate_mapping"]}
    try:
        arguments = SentenceTransformerTrainingArguments(
            **{**defaults, **_from_settings(settings, device, evaluates), **extra}
        )
        _check_by_use(arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise KitError(f"The trainer refuses its arguments: {first_line(error)}. Check --trainer.") from error
    _check_extra(arguments, extra)
    arguments.dataloader_drop_last = False  # the library drops a short batch where there are several processes
    return arguments


def _from_settings(settings: RunSettings, device: str, evaluates: bool) -> dict[str, Any]:
    """Return the arguments that the settings decide."""
    return {
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


def _check_extra(arguments: SentenceTransformerTrainingArguments, extra: Mapping[str, Any]) -> None:
    """Refuse arguments of ``--trainer`` that would have no effect."""
    if arguments.lr_scheduler_type == "constant" and (idle := extra.keys() & {"warmup_steps", "lr_scheduler_kwargs"}):
        raise KitError(
            f"--trainer {' and '.join(sorted(idle))} would do nothing: the rate is constant. "
            "Add --trainer lr_scheduler_type=constant_with_warmup, linear or cosine."
        )
    if arguments.dataloader_persistent_workers and not arguments.dataloader_num_workers:
        raise KitError("--trainer dataloader_persistent_workers needs processes that make batches. Add --workers 1.")


def _check_by_use(arguments: SentenceTransformerTrainingArguments) -> None:
    """Make an optimizer and a schedule to see whether they accept the arguments, before the run begins."""
    untyped: Any = arguments
    if not untyped.optim_target_modules:  # else it takes the encoder, and a package that says what is wrong
        Trainer.get_optimizer_cls_and_kwargs(untyped, cast(Any, torch.nn.Linear(1, 1)))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], untyped.learning_rate or 0.1)
    if untyped.torch_compile:
        DynamoBackend(str(untyped.torch_compile_backend).upper())
    if untyped.batch_sampler == BatchSamplers.GROUP_BY_LABEL:
        raise ValueError("batch_sampler=group_by_label is for losses over classes, of which none is used here")
    get_scheduler(untyped.lr_scheduler_type, optimizer, 0, 2, untyped.lr_scheduler_kwargs or {})


def _parse_extra(pairs: tuple[str, ...]) -> dict[str, Any]:
    hints = get_type_hints(SentenceTransformerTrainingArguments)
    extra, problems = {}, []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            problems.append(f"--trainer {pair!r} is not KEY=VALUE")
        elif key in REFUSED:
            problems.append(f"--trainer {key} is not taken: {REFUSED[key]}")
        elif key not in hints:
            near = ", ".join(difflib.get_close_matches(key, TAKEN))
            hint = f"near: {near}" if near else "see the fields of SentenceTransformerTrainingArguments"
            problems.append(f"--trainer {key!r} is no training argument ({hint})")
        else:
            try:
                extra[key] = _parse_value(text, hints[key])
            except ValueError:
                problems.append(f"--trainer {key} takes {describe_type(hints[key])}, not {text!r}")
    if problems:
        raise KitError(". ".join(problems) + ".")
    return extra


def _parse_value(text: str, hint: Any) -> Any:
    """Return a value as its field's annotation says; text stays text where nothing else fits."""
    kinds = {get_origin(kind) or kind for kind in (get_args(hint) if get_origin(hint) in _UNIONS else (hint,))}
    if text.lower() in _SWITCH and (bool in kinds or Literal in kinds):
        return _SWITCH[text.lower()]
    if kinds & {dict, list}:
        with suppress(yaml.YAMLError):
            value = _numbers(yaml.safe_load(text))
            if type(value) in kinds:
                return value
    for kind in (int, float):
        with suppress(ValueError):
            if kind in kinds and not math.isnan(number := kind(text)):
                return number
    if str in kinds:
        return text
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    raise ValueError(text)


def _numbers(value: Any) -> Any:
    """Return a YAML value with numbers as 1e-3, which YAML reads as text."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value
