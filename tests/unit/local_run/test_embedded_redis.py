from pathlib import Path

import pytest

from local_run.embedded_redis import DataFolderError, data_folder


def test_the_data_folder_is_made(tmp_path: Path) -> None:
    with data_folder(str(tmp_path / "deep" / "data")):
        assert (tmp_path / "deep" / "data").is_dir()


def test_two_runs_do_not_share_a_data_folder(tmp_path: Path) -> None:
    with (
        data_folder(str(tmp_path)),
        pytest.raises(DataFolderError, match=r"is in use by another run; choose another with DATA_DIR=…$"),
        data_folder(str(tmp_path)),
    ):
        pass
    with data_folder(str(tmp_path)):
        pass


def test_a_folder_that_can_not_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataFolderError, match=r"^the data folder \S+ can't be used \(Not a directory\)"),
        data_folder(str(tmp_path / "file" / "data")),
    ):
        pass
