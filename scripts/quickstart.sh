#!/usr/bin/env bash
# Sets everything up, adapts the embedded model to the sample text, fine-tunes it on labelled pairs, and shows what changed.
# Killed half-way, run it again: it continues where it was.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
started=$SECONDS

$python -m tsdae_kit.prepare data/health/corpus.txt.gz --output data/prepared --held-out 300
# A short run for two CPU cores; without --max-steps it is one pass over the text.
$python -m tsdae_kit.train --data data/prepared --output runs/quickstart --max-steps 100 --save-steps 50 --eval-steps 100 --resume
$python -m tsdae_kit inspect runs/quickstart --text "What are the symptoms of high blood pressure?" --nearest 3
$python -m tsdae_kit.finetune data/health/pairs_train.tsv --model runs/quickstart/final --loss multiple-negatives \
    --mine-negatives data/health/corpus.txt.gz --learning-rate 1e-5 --max-length 64 --max-steps 60 --save-steps 50 \
    --output runs/quickstart-tuned --resume
$python -m tsdae_kit.evaluate all-MiniLM-L6-v2 runs/quickstart/final runs/quickstart-tuned/final --data data/health \
    --output runs/quickstart-tuned/scores.json
$python -m tsdae_kit.report runs/quickstart --scores runs/quickstart-tuned/scores.json
$python -m tsdae_kit.report runs/quickstart-tuned
echo "Quick start: $((SECONDS - started)) seconds of work."
