"""Command evaluate: scores models side by side. ``python -m tsdae_kit.evaluate MODEL... --data DIR``."""

from __future__ import annotations

from typing import TypedDict, cast

from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.keywords import keywords_of
from tsdae_kit.config.python_objects import name_models
from tsdae_kit.config.settings.evaluation import EvaluateSettings
from tsdae_kit.console import show_messages
from tsdae_kit.distributed import on_rank_0


class _Score(TypedDict):
    task: str
    size: str
    model: str
    metric: str
    score: float  # out of 100


class ScoreRow(_Score, total=False):
    """The score of one model on one task by one metric; the last three keys are not in every row.

    ``difference`` is from the first model, in the same points, and ``interval`` its 95 % interval; ``verdict`` is
    better, worse or no difference shown.
    """

    difference: float
    interval: tuple[float, float]
    verdict: str


class ScoreReport(TypedDict):
    """The content of ``scores.json``: settings, digests of models and data, versions, and a row per score."""

    settings: dict[str, object]
    digests: dict[str, str]
    versions: dict[str, str]
    results: list[ScoreRow]


@keywords_of(EvaluateSettings, models="SentenceTransformer")
def score_models(**settings: object) -> ScoreReport:
    """Score models on evaluation data; return the content of the file ``output``.

    Args:
        **settings: The fields of :class:`tsdae_kit.config.settings.EvaluateSettings`.

    Returns:
        Settings, versions, digests of models and data that are folders or files, and under ``results`` a row for each
        task, model and metric: score (out of 100), difference from the first model, its 95 % interval (in the same
        points) and verdict.

    Raises:
        KitError: For models or data that are missing or not valid.
    """
    names, objects = name_models(settings.get("models", ()))
    resolved = make_settings(EvaluateSettings, {**settings, "models": names})
    from tsdae_kit.evaluation.model_comparison import evaluate_models  # torch: --help must not wait for it

    with show_messages():
        return on_rank_0(lambda: cast("ScoreReport", evaluate_models(resolved, objects)), "evaluate")


main = make_main(
    "evaluate",
    score_models,
    EvaluateSettings,
    "Score models side by side on retrieval, reranking and pairs; the first one is the reference.",
)


if __name__ == "__main__":
    main()
