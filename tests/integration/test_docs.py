import re
from pathlib import Path

import pytest

from chassis import admin_endpoint, grpc_options, log
from chassis.grpc_server import server
from chassis.redis.client import MASTER_CHECK_INTERVAL_S
from chassis.redis.master import REPLY_LIMIT_S
from chassis.telemetry.tracing import FLUSH_LIMIT_S
from deploy.certs.authority import AUTHORITY_DAYS, LEAF_DAYS
from docs import configuration, metrics
from webui_svc import connections, settings, sse
from worker_svc import ledger
from worker_svc.pool import pool

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("**/*.md")]
RULES = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
CORE = {name.removeprefix("grpc."): value for name, value in grpc_options.SERVER}
IDLE_S = int(CORE["max_connection_idle_ms"]) // 1_000

NUMBERS = {
    "operations": [
        f"| connections to one server | {grpc_options.MAX_CONNECTIONS:,} |",
        f"| one that does not begin to speak HTTP/2 | {int(CORE['server_handshake_timeout_ms']) // 1_000} s |",
        f"| one without a call | {IDLE_S} s to {2 * IDLE_S} s |",
        f"| streams of a connection | {CORE['max_concurrent_streams']} |",
        f"| calls | {server.MAX_CALLS:,} |",
        f"| connections to `METRICS_PORT` | {admin_endpoint.MAX_CONNECTIONS} |",
        f"a head of {admin_endpoint.MAX_HEAD_BYTES // 1_024} KiB",
        f"up to {log.MAX_WAITING_BYTES >> 20} MiB of lines waits",
        f"up to {ledger.MAX_UNACKNOWLEDGED} reports wait",
    ],
    "security": [
        f"{connections.MAX_CONNECTIONS:,} in all, {settings.MAX_STREAMS:,} of them streams of events",
        f"{connections.BESIDE_STREAMS} connections more, beyond which its oldest are closed",
        f"{connections.LIMITS['max_headers']} headers of {round(connections.LIMITS['max_field_size'] / 1_024)} KiB",
        f"complete within {connections.LIMITS['keepalive_timeout']:.0f} s",
        f"nothing of what is sent for {sse.WRITE_LIMIT_S:.0f} s",
    ],
    "redis": [
        f"at most {ledger.KEPT_S:.0f} s of reports",
        f"a client queries the Sentinels again every {MASTER_CHECK_INTERVAL_S:.0f} s",
        f"does not respond within {REPLY_LIMIT_S:g} s is skipped",
    ],
    "discovery": [f"one of them is exchanged every {pool.EXCHANGE_INTERVAL_S:.0f} s"],
    "tls": [f"valid for {LEAF_DAYS} days, the authority for {'a year' if AUTHORITY_DAYS == 365 else AUTHORITY_DAYS}"],
    "tracing": [f"its collector {'half a second' if FLUSH_LIMIT_S == 0.5 else FLUSH_LIMIT_S} for the last ones"],
}


@pytest.mark.parametrize("page", NUMBERS)
def test_the_bounds_that_a_page_names_are_those_of_the_code(page: str) -> None:
    text = " ".join((ROOT / "docs" / f"{page}.md").read_text().split())
    assert [said for said in NUMBERS[page] if said not in text] == []


def test_the_configuration_page_is_up_to_date() -> None:
    assert configuration.PAGE.read_text() == configuration.page()


async def test_the_metrics_page_is_up_to_date() -> None:
    assert metrics.PAGE.read_text() == await metrics.page()


def test_every_variable_of_the_compose_files_is_on_the_configuration_page() -> None:
    files = [*ROOT.glob("compose*.yaml"), *(ROOT / "deploy" / "swarm").glob("*.yaml")]
    named = {name for file in files for name in re.findall(r"\$\{(\w+)", file.read_text())}
    assert named
    assert not [name for name in named if f"`{name}`" not in configuration.PAGE.read_text()]


def test_every_series_that_a_page_or_a_rule_names_is_on_the_metrics_page() -> None:
    known = set(re.findall(r"^\| `(\w+)`", metrics.PAGE.read_text(), re.MULTILINE))
    for text in (RULES, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))):
        named = set(re.findall(r"\b(?:dockercoins|grpc_(?:server|client))_[a-z_]+\b(?!\*)", text))
        assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} <= known


@pytest.mark.parametrize("words", NUMBERS)
def test_the_numbers_of_pages_are_those_of_the_code(words: str) -> None:
    assert any(words in " ".join(page.read_text().split()) for page in PAGES)


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"\balert: *(\w+)", RULES)) == set(
        re.findall(r"^\| `(DockerCoins\w+)` \|", page, re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"\btests/[\w./]*\w", text) + re.findall(r"`([\w/]+\.(?:py|lua|c|svg|proto))`", text)
    # A page may name a file without its folder, where that is clear.
    assert [path for path in named if not (ROOT / path).exists() and not [*ROOT.glob(f"[a-z]*/**/{path}")]] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_command_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:`|^    )make ([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE)
    }
    assert "test" in named
    assert named <= targets
