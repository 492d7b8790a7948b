"""Shows what adapting changed: nearest neighbours before and after.

python scripts/show_change.py BASE ADAPTED --corpus FILE
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

from tsdae_kit.console import quiet_frameworks
from tsdae_kit.training.models import choose_device, load_encoder

QUERIES = ("What are the symptoms of high blood pressure?", "The gene changes are passed on in families.")
SEARCHED = 1000  # sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2, help="the base model and the adapted one")
    parser.add_argument("--corpus", type=Path, required=True, help="gzip-compressed text, one a line")
    options = parser.parse_args()
    with gzip.open(options.corpus, "rt", encoding="utf-8") as stream:
        texts = [line.strip() for line, _ in zip(stream, range(SEARCHED), strict=False)]
    for name in options.models:
        with quiet_frameworks():
            model = load_encoder(name, choose_device(None))
        print(f"\n{name}:")
        scores = model.similarity(model.encode(list(QUERIES)), model.encode(texts))
        for query, row in zip(QUERIES, scores, strict=True):
            print(f"  nearest to: {query}")
            for i in row.argsort(descending=True)[:3].tolist():
                print(f"    {row[i]:.2f}  {texts[i]:.90}")
    print("\nThis is a quick look at a short run. Whether it helps your field takes your own labelled data.")


if __name__ == "__main__":
    main()
