import pytest

from chassis import misspelling
from local_run import program
from local_run.settings import LocalRunSettings

KNOWN = LocalRunSettings.variables() | program.variables()

OF_OTHERS = """
    PATH HOME HOST HOSTNAME HOSTTYPE USER LOGNAME SHELL SHLVL TERM TERMCAP LANG LANGUAGE LC_ALL TZ PWD OLDPWD MAIL
    EDITOR VISUAL PAGER LESS DISPLAY COLUMNS LINES PS1 IFS UID PPID RANDOM SECONDS TMPDIR TEMP TMP HISTFILE MANPATH
    WINDOW STY TMUX COLORTERM COLORS XAUTHORITY XDG_DATA_DIRS XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS SSH_AUTH_SOCK
    SSH_CONNECTION SUDO_USER INVOCATION_ID JOURNAL_STREAM LISTEN_FDS LISTEN_PID NOTIFY_SOCKET WATCHDOG_PID
    MAKEFLAGS MAKELEVEL MAKEOVERRIDES MFLAGS CC CXX CFLAGS LDFLAGS PYTHONPATH VIRTUAL_ENV CONDA_PREFIX PYENV_ROOT
    HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY GRPC_PROXY GRPC_TRACE GRPC_VERBOSITY
    POST PORTS PART SORT PAGE PACK PLACE RACE FACE SPACE STREAM_ID TAG REGISTRY PROMETHEUS_PORT
    RNG_PORT RNG_SERVICE_HOST RNG_SERVICE_PORT RNG_PORT_50051_TCP WEBUI_SERVICE_PORT REDIS_SERVICE_HOST KUBERNETES_PORT
    DOCKER_HOST COMPOSE_PROJECT_NAME COMPOSE_FILE CI GITHUB_TOKEN GITHUB_ACTIONS GITLAB_CI RUNNER_TEMP
    OTEL_SERVICE_NAME OTEL_RESOURCE_ATTRIBUTES OTEL_LOGS_EXPORTER OTEL_METRICS_EXPORTER OTEL_EXPORTER_OTLP_HEADERS
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_BSP_SCHEDULE_DELAY
"""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PCAE", "PACE"),
        ("PAC", "PACE"),
        ("PROT", "PORT"),
        ("WORKER", "WORKERS"),
        ("RNG", "RNGS"),
        ("HASHER", "HASHERS"),
        ("WORKERSS", "WORKERS"),
        ("DELAX", "DELAY"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("BATCH_SZIE", "BATCH_SIZE"),
        ("XBATCH_SIZE", "BATCH_SIZE"),
        ("RGN_DELAY", "RNG_DELAY"),
        ("HASHER_FAULTS_SLOW", "HASHER_FAULT_SLOW"),
    ],
)
def test_a_name_that_is_one_edit_away_from_a_known_one_is_found(name: str, meant: str) -> None:
    assert misspelling.find(["PATH", name, "HOME"], KNOWN) == {name: meant}


@pytest.mark.parametrize("name", ["PCEA", "WORK", "WORKERZZ", "DELYA_", "EDLYA", "WOKRESR", ""])
def test_a_name_that_is_two_edits_away_is_not(name: str) -> None:
    assert misspelling.find([name], KNOWN) == {}


@pytest.mark.parametrize("name", OF_OTHERS.split())
def test_a_name_of_another_program_is_not(name: str) -> None:
    assert misspelling.find([name], KNOWN - {name}) == {}


def test_what_is_known_is_no_misspelling_of_anything_else() -> None:
    """So a setting of one service is not reported by another one that has it in its environment, too."""
    for name in KNOWN:
        assert misspelling.find([name], KNOWN - {name}) == {}
