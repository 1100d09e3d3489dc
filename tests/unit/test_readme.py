from pathlib import Path

import pytest

from chassis.settings import ServiceSettings
from hasher_svc.settings import HasherSettings
from local_run.settings import LocalRunSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("settings", [RngSettings, HasherSettings, WorkerSettings, WebuiSettings, LocalRunSettings])
def test_every_variable_is_in_the_readme(settings: type[ServiceSettings]) -> None:
    assert not [name for name in settings.fields if f"`{name.upper()}`" not in README]
