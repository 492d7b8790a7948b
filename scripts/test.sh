#!/usr/bin/env bash
# Lint, types and tests, with all the set-up. Arguments go to pytest: bash scripts/test.sh -k resume
set -euo pipefail
source "$(dirname "$0")/environment.sh"
# The reports are looked at in a browser; without one, and not root, those tests are left out.
if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends chromium >/dev/null
fi

$python -m ruff check .
$python -m ruff format --check .
$python -m mypy
export OMP_NUM_THREADS=1 # two at a time: more threads would wait for each other
$python -m pytest --numprocesses 2 --dist worksteal "$@"
