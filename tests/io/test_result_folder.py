import json

import pytest

from napari_deformreg.errors import FileFormatError, InputError
from napari_deformreg.io import (
    RESULT_FILES,
    atomic_file,
    atomic_folder,
    check_result_folder_target,
    open_result_folder,
    split_volume_suffix,
)
from napari_deformreg.io import result_folder as names


def fill(folder, mark="first"):
    (folder / names.SETTINGS).write_text(json.dumps({"preset": mark}))
    (folder / names.REPORT_JSON).write_text(json.dumps({"metrics": []}))
    (folder / names.FIXED_TO_MOVING).write_bytes(b"h5")


def fill_and_fail(target, mark, error):
    with atomic_folder(target) as folder:
        fill(folder, mark)
        raise error


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "deep" / "result"
    with atomic_folder(target) as folder:
        assert folder.parent == target.parent
        assert not target.exists()
        fill(folder)
    result = open_result_folder(target)
    assert result.settings == {"preset": "first"}
    assert result.report == {"metrics": []}
    assert result.file(names.FIXED_TO_MOVING) == target / names.FIXED_TO_MOVING
    assert result.file(names.MOVED) is None
    assert [entry.name for entry in target.parent.iterdir()] == ["result"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill_and_fail(tmp_path / "result", "first", KeyboardInterrupt)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_older_result(tmp_path):
    target = tmp_path / "result"
    with atomic_folder(target) as folder:
        fill(folder, "older")
    with pytest.raises(ValueError, match="no"):
        fill_and_fail(target, "newer", ValueError("no"))
    assert open_result_folder(target).settings == {"preset": "older"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


def test_an_older_result_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "result"
    with atomic_folder(target) as folder:
        fill(folder, "older")
        (folder / names.PREVIEW).write_bytes(b"png")
    with atomic_folder(target) as folder:
        fill(folder, "newer")
    result = open_result_folder(target)
    assert result.settings == {"preset": "newer"}
    assert result.file(names.PREVIEW) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "result").mkdir()
    with atomic_folder(tmp_path / "result") as folder:
        fill(folder)
    assert open_result_folder(tmp_path / "result")


@pytest.mark.parametrize("present", [["thesis.tex"], [names.SETTINGS, "thesis.tex"], [names.MOVED]])
def test_the_users_own_folder_is_never_replaced(present, tmp_path):
    target = tmp_path / "mine"
    target.mkdir()
    for name in present:
        (target / name).write_text("{}")
    with pytest.raises(InputError, match="neither empty nor an older result"):
        check_result_folder_target(target)
    with pytest.raises(InputError, match="neither empty nor an older result"), atomic_folder(target):
        pytest.fail("the block must not run")
    assert sorted(entry.name for entry in target.iterdir()) == sorted(present)


def test_a_folder_that_fills_up_meanwhile_is_left_alone(tmp_path):
    target = tmp_path / "result"
    block = atomic_folder(target)
    fill(block.__enter__())
    target.mkdir()
    (target / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="neither empty"):
        block.__exit__(None, None, None)
    assert [entry.name for entry in target.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "result").write_text("")
    with pytest.raises(InputError, match="a file has this name"):
        check_result_folder_target(tmp_path / "result")


def test_folders_that_are_no_results(tmp_path):
    with pytest.raises(InputError, match="There is no result folder"):
        open_result_folder(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no fixed_to_moving\.h5, no report\.json, no settings\.json"):
        open_result_folder(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1, 2]"])
def test_damaged_json(content, tmp_path):
    fill(tmp_path)
    (tmp_path / names.REPORT_JSON).write_text(content)
    with pytest.raises(FileFormatError, match=r"report\.json"):
        open_result_folder(tmp_path)


def test_only_known_names_are_looked_up(tmp_path):
    fill(tmp_path)
    with pytest.raises(InputError, match=r"thesis\.tex"):
        open_result_folder(tmp_path).file("thesis.tex")
    assert names.JACOBIAN_DETERMINANT in RESULT_FILES


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("older")
    block = atomic_file(path)
    block.__enter__().write_text("half")
    assert not block.__exit__(ValueError, ValueError("no"), None)
    assert path.read_text() == "older"
    with atomic_file(path) as partial:
        partial.write_text("newer")
    assert path.read_text() == "newer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_in_the_way_of_a_file(tmp_path):
    (tmp_path / "file.txt").mkdir()
    with pytest.raises(InputError, match="a folder has this name"), atomic_file(tmp_path / "file.txt"):
        pytest.fail("the block must not run")


def test_the_volume_after_the_file(tmp_path):
    assert split_volume_suffix("a/scan.nii.gz@12") == (tmp_path.__class__("a/scan.nii.gz"), 12)
    assert split_volume_suffix("a/scan.nii.gz") == (tmp_path.__class__("a/scan.nii.gz"), None)
    assert split_volume_suffix("me@home/scan.nii")[1] is None
    real = tmp_path / "scan.nii@3"
    real.write_text("")
    assert split_volume_suffix(real) == (real, None)
