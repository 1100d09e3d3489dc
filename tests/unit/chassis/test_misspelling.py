import pytest

from chassis.settings import misspelled
from local_run import programs
from local_run.settings import LocalRunSettings

KNOWN = LocalRunSettings.variables() | programs.variables()

OF_OTHERS = """
    PATH HOME HOST HOSTNAME HOSTTYPE USER LOGNAME SHELL TERM LANG TZ PWD MAIL PAGER LESS LINES TMP WINDOW STY COLORS
    SSH_AUTH_SOCK LISTEN_FDS NOTIFY_SOCKET MAKEFLAGS MAKELEVEL CC CFLAGS PYTHONPATH VIRTUAL_ENV CONDA_PREFIX HTTP_PROXY
    NO_PROXY GRPC_TRACE POST PORTS PART SORT PAGE PACK PLACE RACE FACE SPACE STREAM_ID TAG REGISTRY PROMETHEUS_PORT
    RNG_PORT RNG_SERVICE_PORT RNG_PORT_50051_TCP WEBUI_SERVICE_PORT REDIS_SERVICE_HOST KUBERNETES_PORT DOCKER_HOST
    COMPOSE_FILE CI GITHUB_TOKEN OTEL_SERVICE_NAME OTEL_LOGS_EXPORTER OTEL_METRICS_EXPORTER OTEL_EXPORTER_OTLP_HEADERS
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_BSP_SCHEDULE_DELAY
"""


@pytest.mark.parametrize(
    ("name", "meant"),
    [("PCAE", "PACE"), ("PAC", "PACE"), ("PROT", "PORT"), ("WORKER", "WORKERS"), ("RNG", "RNGS"),
     ("WORKERSS", "WORKERS"), ("DELAX", "DELAY"), ("LOGLEVEL", "LOG_LEVEL"), ("XBATCH_SIZE", "BATCH_SIZE"),
     ("RGN_DELAY", "RNG_DELAY"), ("HASHER_FAULTS_SLOW", "HASHER_FAULT_SLOW")],
)  # fmt: skip
def test_a_name_that_is_one_edit_away_from_a_known_one_is_found(name: str, meant: str) -> None:
    assert misspelled(["PATH", name, "HOME"], KNOWN) == {name: meant}


@pytest.mark.parametrize("name", ["PCEA", "WORK", "WORKERZZ", "DELYA_", "EDLYA", "WOKRESR", ""])
def test_a_name_that_is_two_edits_away_is_not(name: str) -> None:
    assert misspelled([name], KNOWN) == {}


def test_names_of_other_programs_are_not() -> None:
    others = set(OF_OTHERS.split())
    assert misspelled(others, KNOWN - others) == {}


def test_what_is_known_is_no_misspelling_of_anything_else() -> None:
    """So a setting of one service is not reported by another one that has it in its environment, too."""
    assert [name for name in KNOWN if misspelled([name], KNOWN - {name})] == []
