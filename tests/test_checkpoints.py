"""Which checkpoint a run continues from: the newest that is whole, never half of one, never silently none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tsdae_kit import KitError
from tsdae_kit.filesystem import atomic_folder, remove_leftovers
from tsdae_kit.run_folder import RunFolder
from tsdae_kit.training.checkpoints import rotate, select_checkpoint, write_checksums


def make_run(*steps: int) -> Path:
    run = Path("run")
    for step in steps:
        with atomic_folder(run / f"checkpoint-{step}") as folder:
            (folder / "deep").mkdir()
            (folder / "model.safetensors").write_bytes(bytes(range(200)))
            (folder / "deep" / "state.json").write_text(f'{{"step": {step}}}')
            write_checksums(folder, "a-run")
    return run


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = [delete, truncate, empty, flip_a_bit]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "deep/state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over_by_name(
    name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(90, 100)
    damage(run / "checkpoint-100" / name)
    with caplog.at_level(logging.WARNING, "tsdae_kit"):
        assert select_checkpoint(RunFolder(run), "a-run") == run / "checkpoint-90"
    assert "Skipping checkpoint-100" in caplog.text
    with pytest.raises(KitError, match="checkpoint-100 cannot be used"):
        select_checkpoint(RunFolder(run), "a-run", run / "checkpoint-100")


def test_the_newest_is_the_highest_number_not_the_last_in_the_alphabet() -> None:
    assert select_checkpoint(RunFolder(make_run(5, 100, 20)), "a-run") == Path("run/checkpoint-100")


def test_no_checkpoint_is_none_but_no_good_one_is_an_error() -> None:
    """A run must never start again from step 0 by itself (need 19)."""
    assert select_checkpoint(RunFolder(Path("run")), "a-run") is None
    run = make_run(5, 6)
    for checkpoint in RunFolder(run).checkpoints():
        empty(checkpoint / "model.safetensors")
    with pytest.raises(KitError, match=r"No checkpoint in run can be used \(checkpoint-6: .*; checkpoint-5: "):
        select_checkpoint(RunFolder(run), "a-run")


def test_another_runs_checkpoint_is_not_ours() -> None:
    with pytest.raises(KitError, match="belongs to another run"):
        select_checkpoint(RunFolder(make_run(5)), "other-run")


def test_rotation_goes_by_step_and_spares_what_is_protected() -> None:
    run = make_run(9, 10, 100, 20)
    rotate(RunFolder(run), "a-run", 2, protected={9})
    assert [path.name for path in RunFolder(run).checkpoints()] == [
        "checkpoint-100",
        "checkpoint-20",
        "checkpoint-9",
    ]


def test_nothing_is_deleted_while_the_newest_does_not_read_back(caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(1, 2, 3)
    flip_a_bit(run / "checkpoint-3" / "model.safetensors")
    rotate(RunFolder(run), "a-run", 1, protected=set())
    assert len(RunFolder(run).checkpoints()) == 3
    assert "does not read back" in caplog.text


def test_a_folder_appears_whole_or_not_at_all() -> None:
    target = Path("folder")
    with pytest.raises(RuntimeError), atomic_folder(target) as folder:
        (folder / "half").write_text("half")
        assert not target.exists()
        raise RuntimeError
    assert list(Path().iterdir()) == []
    for content in ("old", "new"):
        with atomic_folder(target) as folder:
            (folder / "file").write_text(content)
    assert [p.read_text() for p in target.iterdir()] == ["new"]
    assert [p.name for p in Path().iterdir()] == ["folder"]


def test_what_a_killed_process_left_is_removed() -> None:
    for name in (".checkpoint-5.partial", ".checkpoint-4.replaced"):
        (Path("run") / name).mkdir(parents=True)
    remove_leftovers(Path("run"))
    assert list(Path("run").iterdir()) == []
