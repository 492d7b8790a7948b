"""The wheel holds all that is needed: installed apart from the checkout it runs, and types a user's project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import make_sentences

ROOT = Path(__file__).parents[1]
USER = """
from tsdae_kit import KitError, Noise, TSDAELoss, adapt, fine_tune, prepare_corpus, score_models

noise = Noise(deletion_ratio=0.6)
text: str = noise("the doctor treats a rash", 1)
final = adapt(data=prepare_corpus(files=["corpus.txt"]), resume=True)
print(final.name, score_models(models=[final], data=["pairs_test.tsv"])["results"])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(place), str(ROOT)], check=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(place / "site"), str(wheel)], check=True)
    return place / "site"


def run(installed: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(installed), "MYPYPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_installed_wheel_goes_from_text_to_a_model(installed: Path, tiny_model: Path) -> None:
    assert run(installed, "-c", "import tsdae_kit; print(tsdae_kit.__file__)").startswith(str(installed))
    Path("corpus.txt").write_text("\n".join(make_sentences(120)))
    Path("pairs_test.tsv").write_text("1\tthe doctor\ta nurse\n0\tthe doctor\ta rash\n")
    Path("plan.yaml").write_text(
        "prepare: {files: [corpus.txt]}\n"
        f"train: {{model: {tiny_model}, max_steps: 2, decoder_warmup_steps: 0, device: cpu}}\n"
        "evaluate: {data: [pairs_test.tsv], device: cpu}\n"
    )
    run(installed, "-m", "tsdae_kit", "run", "plan.yaml")
    assert Path("runs/tsdae/final/model.safetensors").exists()
    assert Path("scores.json").exists()
    for page in ("data/prepared/report.html", "runs/tsdae/report.html"):  # from templates, which are no modules
        assert "<style>\n:root" in Path(page).read_text(encoding="utf-8")
    assert "## How it was adapted" in Path("runs/tsdae/final/README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(900)  # without the cache that `mypy` leaves in the checkout, a minute on a core of its own
def test_a_users_project_is_type_checked_strictly(installed: Path) -> None:
    """With the checkout's own options, so that what mypy knows of torch and the others by then is of use."""
    assert (installed / "tsdae_kit/py.typed").exists()
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", "cache")
    mypy = ("-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", "cache", "user.py")
    Path("user.py").write_text(USER)
    assert "Success" in run(installed, *mypy)
    Path("user.py").write_text(USER + "noise(3)\nadapt(epoch=2)\nadapt(model=5)\n")
    expected = '(?s)error: .*arg-type.*Unexpected keyword argument "epoch".*expected "str | Path | SentenceTransformer"'
    with pytest.raises(AssertionError, match=expected.replace("|", r"\|")):
        run(installed, *mypy)
