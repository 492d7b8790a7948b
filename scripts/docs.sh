#!/usr/bin/env bash
# The documentation as one site, build/docs/index.html, with all the set-up. A warning is an error.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

$python -m sphinx -W --keep-going --quiet -c docs . build/docs
echo "Written: build/docs/index.html"
