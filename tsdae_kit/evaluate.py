"""Command evaluate: scores models side by side. ``python -m tsdae_kit.evaluate MODEL... --data DIR``."""

from __future__ import annotations

from typing import Any

from tsdae_kit.config.command_line import make_main, make_settings
from tsdae_kit.config.settings import EvaluateSettings
from tsdae_kit.console import show_messages
from tsdae_kit.distributed import on_rank_0


def score_models(**given: Any) -> dict[str, Any]:
    """Score models on evaluation data; return what is written to ``output``.

    Args:
        **given: Fields of :class:`tsdae_kit.config.settings.EvaluateSettings`, for example
            ``models=["all-MiniLM-L6-v2", "runs/tsdae/final"], data=["data/health"]``.

    Returns:
        Settings, versions, digests of models and data that are folders or files, and under ``results`` a row for each
        task, model and metric, with its score (out of 100), the difference from the first model, the 95 % interval of
        that (in the same points) and the verdict.

    Raises:
        KitError: For models or data that are missing or are not as they should be.
    """
    settings = make_settings(EvaluateSettings, given)
    from tsdae_kit.evaluation.model_comparison import evaluate_models  # torch: after parsing

    with show_messages():
        return on_rank_0(lambda: evaluate_models(settings), "evaluate")


main = make_main(
    "evaluate",
    score_models,
    EvaluateSettings,
    "Score models side by side on retrieval, reranking and pairs; the first one is the reference.",
)


if __name__ == "__main__":
    main()
