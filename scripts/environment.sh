# Sourced by the other scripts: makes .venv and installs the project, once for each state of its requirements.
# PYTHON names the interpreter to build it with (3.10 or newer).

cd "$(dirname "${BASH_SOURCE[0]}")/.."
stamp=.venv/installed
wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    "${PYTHON:-python3}" -m venv .venv
    # torch first and by its exact version: a range lets pip pick a CUDA build of several gigabytes.
    .venv/bin/pip install --quiet "$(grep '^torch==' constraints.txt)"
    .venv/bin/pip install --quiet --constraint constraints.txt --editable '.[offline,dev,docs]'
    echo "$wanted" >"$stamp"
fi
python=.venv/bin/python
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
