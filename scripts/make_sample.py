"""Makes the sample in data/health from MedQuAD and RQE (both CC BY 4.0; see data/README.md).

    python scripts/make_sample.py ../shared/datasets

Takes the corpus's first 10,000 lines (it is shuffled) and the RQE pairs as they are.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
from pathlib import Path

SENTENCES = 10_000
TARGET = Path(__file__).parents[1] / "data" / "health"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, help="the folder that holds medquad/ and rqe/")
    datasets = parser.parse_args().datasets
    TARGET.mkdir(parents=True, exist_ok=True)
    with (datasets / "medquad" / "corpus.txt").open(encoding="utf-8") as source:
        text = "".join(itertools.islice(source, SENTENCES))
    (TARGET / "corpus.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    for name in ("pairs_train.tsv", "pairs_test.tsv"):
        (TARGET / name).write_text((datasets / "rqe" / name).read_text(encoding="utf-8"), encoding="utf-8")
    print(*(f"{path.name}: {path.stat().st_size:,} bytes" for path in sorted(TARGET.iterdir())), sep="\n")


if __name__ == "__main__":
    main()
