#!/usr/bin/env bash
# Lint, types and tests, with all the set-up. Arguments go to pytest: bash scripts/test.sh -k resume
set -euo pipefail
source "$(dirname "$0")/environment.sh"

$python -m ruff check .
$python -m ruff format --check .
$python -m mypy
$python -m pytest "$@"
