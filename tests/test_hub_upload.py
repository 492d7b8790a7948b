"""--push-to-hub: uploads the final model, and a failing hub loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tsdae_kit import KitError, adapt
from tsdae_kit.models import hub_upload

Settings = dict[str, Any]


class Hub:
    """Replaces ``HfApi`` and records its arguments."""

    error: Exception | None = None
    uploaded: list[tuple[str, set[str]]]
    private: list[bool]

    def __init__(self, **options: object) -> None: ...

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> str:
        assert exist_ok
        Hub.private.append(private)
        return f"https://hub/{repository}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        if Hub.error:
            raise Hub.error
        Hub.uploaded.append((repo_id, {path.name for path in folder_path.iterdir()}))


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    Hub.error, Hub.uploaded, Hub.private = None, [], []
    monkeypatch.setattr(hub_upload, "HfApi", Hub)
    monkeypatch.setattr(hub_upload, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_upload, "get_token", lambda: "secret")
    return Hub


@pytest.fixture
def settings(tiny_model: Path, tiny_data: Path) -> Settings:
    return {"model": str(tiny_model), "data": tiny_data, "max_steps": 2, "batch_size": 8, "device": "cpu",
            "push_to_hub": "me/model", "resume": True}  # fmt: skip


def test_the_final_model_is_uploaded_also_of_a_finished_run(hub: type[Hub], settings: Settings) -> None:
    final = adapt(**{**settings, "push_to_hub": None})
    assert not hub.uploaded
    adapt(**settings)
    assert hub.uploaded == [("me/model", {path.name for path in final.iterdir()})]
    assert {"README.md", "model.safetensors", "modules.json"} <= hub.uploaded[0][1]
    assert hub.private == [True]
    assert "push_to_hub" not in Path("runs/tsdae/run.json").read_text()


@pytest.mark.parametrize(
    "error", [hub_upload.HTTPError("Connection refused"), OSError("403 Forbidden"), RuntimeError("xet")]
)
def test_a_failed_push_keeps_the_model_and_is_repeated(hub: type[Hub], settings: Settings, error: Exception) -> None:
    hub.error = error
    with pytest.raises(KitError, match=f"final is complete, but was not pushed to me/model .{error}.*--resume"):
        adapt(**settings)
    hub.error = None
    assert adapt(**settings).is_dir()
    assert len(hub.uploaded) == 1


@pytest.mark.parametrize(
    ("offline", "name", "message"),
    [
        (True, "me/model", "needs the hub, but HF_HUB_OFFLINE switches it off"),
        (False, "my model/x/y", "Write NAME/MODEL"),
        (False, "model", "names no owner"),
        (False, "me/model", "needs a token, and none is set"),
    ],
)
def test_a_push_that_cannot_succeed_is_refused_before_the_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, offline: bool, name: str, message: str
) -> None:
    monkeypatch.setattr(hub_upload, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(hub_upload, "get_token", lambda: None)
    with pytest.raises(KitError, match=message):
        adapt(**{**settings, "push_to_hub": name})
    assert not Path("runs").exists()
