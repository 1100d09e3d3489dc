from pathlib import Path

import pytest

from local_run.embedded_redis import DataFolderError, data_folder


def test_the_data_folder_is_made_and_no_two_runs_share_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    for _ in range(2):
        with data_folder(str(folder)):
            assert folder.is_dir()
            with pytest.raises(DataFolderError, match=r"is in use by another run"), data_folder(str(folder)):
                pass


def test_a_folder_that_can_not_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataFolderError, match=r"^the data folder \S+ can't be used \(Not a directory\); .* DATA_DIR=…$"),
        data_folder(str(tmp_path / "file" / "data")),
    ):
        pass
