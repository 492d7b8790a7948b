"""Shows what adapting changed: a score on labelled pairs, and nearest neighbours before and after.

python scripts/show_change.py BASE ADAPTED --corpus FILE --pairs FILE
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator

from tsdae_kit.console import quiet_frameworks
from tsdae_kit.training.models import choose_device, load_encoder

QUERIES = ("What are the symptoms of high blood pressure?", "The gene changes are passed on in families.")
SEARCHED = 1000  # sentences


def average_precision(model: SentenceTransformer, pairs: Path) -> float:
    with pairs.open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    evaluator = BinaryClassificationEvaluator(
        [r[1] for r in rows], [r[2] for r in rows], [int(r[0]) for r in rows], write_csv=False
    )
    return 100 * float(evaluator(model)["cosine_ap"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2, help="the base model and the adapted one")
    parser.add_argument("--corpus", type=Path, required=True, help="gzip-compressed text, one a line")
    parser.add_argument("--pairs", type=Path, required=True, help="score, text 1, text 2; tab-separated")
    options = parser.parse_args()
    with gzip.open(options.corpus, "rt", encoding="utf-8") as stream:
        texts = [line.strip() for line, _ in zip(stream, range(SEARCHED), strict=False)]
    for name in options.models:
        with quiet_frameworks():
            model = load_encoder(name, choose_device(None))
        print(f"\n{name}: average precision on {options.pairs.name} {average_precision(model, options.pairs):.1f}")
        scores = model.similarity(model.encode(list(QUERIES)), model.encode(texts))
        for query, row in zip(QUERIES, scores, strict=True):
            print(f"  nearest to: {query}")
            for i in row.argsort(descending=True)[:3].tolist():
                print(f"    {row[i]:.2f}  {texts[i]:.90}")
    print("\nThis is a quick look: 302 pairs, a short run. Whether it helps your field takes your own labelled data.")


if __name__ == "__main__":
    main()
