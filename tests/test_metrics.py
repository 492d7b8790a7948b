"""Each metric against another implementation, and the bootstrap against what is known of it."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from tsdae_kit.evaluation.bootstrap import RESAMPLES, average, compare
from tsdae_kit.evaluation.metrics import AveragePrecision, Mean, Metric, Spearman, score
from tsdae_kit.evaluation.ranking_metrics import measure_ranking

SEEDS = range(5)


def draw(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, graded gold, scores with ties, and weights with zeros."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count).astype(float)
    gold = random.integers(0, 6, count).astype(float)
    return labels, gold, random.normal(size=count).round(1) + gold / 9, random.integers(0, 4, count).astype(float)


@pytest.mark.parametrize("seed", SEEDS)
def test_ranking_metrics_are_those_of_trec_eval(seed: int) -> None:
    random = np.random.default_rng(seed)
    ranking = random.permutation(150).tolist()
    grades = {int(doc): int(random.integers(0, 4)) for doc in random.choice(170, 30, replace=False)}
    run = {"q": {str(doc): float(len(ranking) - rank) for rank, doc in enumerate(ranking)}}
    qrels = {"q": {str(doc): grade for doc, grade in grades.items()}}
    known = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "recall_100", "map", "recip_rank"}).evaluate(run)
    own = measure_ranking(ranking, grades)
    assert own["nDCG@10"] == pytest.approx(known["q"]["ndcg_cut_10"])
    assert own["recall@100"] == pytest.approx(known["q"]["recall_100"])
    assert own["MAP"] == pytest.approx(known["q"]["map"])
    reciprocal = known["q"]["recip_rank"]
    assert own["MRR@10"] == pytest.approx(reciprocal if reciprocal >= 0.1 else 0)


def test_what_is_found_after_rank_10_does_not_count_for_mrr() -> None:
    assert measure_ranking(list(range(20)), {9: 1})["MRR@10"] == pytest.approx(0.1)
    assert measure_ranking(list(range(20)), {10: 1})["MRR@10"] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_is_that_of_scikit_learn_weighted_or_not(seed: int) -> None:
    labels, _, scores, weights = draw(seed)
    both = AveragePrecision(labels, scores).weighted(np.stack([np.ones_like(weights), weights]))
    known = [average_precision_score(labels, scores), average_precision_score(labels, scores, sample_weight=weights)]
    assert both == pytest.approx(100 * np.array(known))


@pytest.mark.parametrize("seed", SEEDS)
def test_spearman_is_that_of_scipy_and_a_weight_is_a_repetition(seed: int) -> None:
    _, gold, scores, weights = draw(seed)
    both = Spearman(gold, scores).weighted(np.stack([np.ones_like(weights), weights]))
    repeated = [np.repeat(values, weights.astype(int)) for values in (gold, scores)]
    known = [spearmanr(gold, scores).statistic, spearmanr(*repeated).statistic]
    assert both == pytest.approx(100 * np.array(known))


def test_scores_that_are_all_equal_correlate_with_nothing() -> None:
    assert score(Spearman(np.arange(9.0), np.ones(9))) == 0


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    """Over 400 queries both say the same to a few percent."""
    random = np.random.default_rng(0)
    first, second = random.uniform(size=400), random.uniform(size=400)
    difference = compare(Mean(second), Mean(first), "data")
    half = 196 * (second - first).std() / 20
    low, high = difference.interval
    assert difference.value == pytest.approx(100 * (second - first).mean())
    assert (low, high) == pytest.approx((difference.value - half, difference.value + half), abs=0.1 * half)


@pytest.mark.parametrize("kind", [Mean, AveragePrecision, Spearman])
def test_the_same_items_are_drawn_for_both_models(kind: type) -> None:
    """Unpaired, the difference of a model from itself would scatter."""
    labels, gold, scores, _ = draw(0)
    metrics: dict[type, Metric] = {
        Mean: Mean(labels), AveragePrecision: AveragePrecision(labels, scores), Spearman: Spearman(gold, scores)
    }  # fmt: skip
    difference = compare(metrics[kind], metrics[kind], "data")
    assert difference.resampled.shape == (RESAMPLES,)
    assert not difference.resampled.any()
    assert difference.verdict == "no difference shown"


def test_verdicts_follow_the_interval() -> None:
    low, high = Mean(np.linspace(0, 0.5, 100)), Mean(np.linspace(0.1, 0.6, 100))
    assert compare(high, low, "data").verdict == "better"
    assert compare(low, high, "data").verdict == "worse"


def test_the_draws_are_the_same_each_time_and_others_for_other_data() -> None:
    labels, gold, _, _ = draw(1)
    first, second = Mean(labels), Mean(gold / 5)
    assert (compare(first, second, "a").resampled == compare(first, second, "a").resampled).all()
    assert (compare(first, second, "a").resampled != compare(first, second, "b").resampled).any()


def test_an_average_over_data_sets_is_surer_than_each() -> None:
    random = np.random.default_rng(0)
    differences = [compare(Mean(random.uniform(size=200)), Mean(random.uniform(size=200)), str(i)) for i in range(9)]
    widths = [high - low for low, high in (d.interval for d in [*differences, average(differences)])]
    assert widths[-1] < min(widths[:-1]) / 2
    assert average(differences).value == pytest.approx(np.mean([d.value for d in differences]))
