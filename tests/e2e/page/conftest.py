import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from e2e.page.browser import ARGUMENTS, Open, found_chromium, opened_pages
from e2e.page.mining import Mining, mining_system
from playwright.async_api import Browser, async_playwright
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses

from webui_svc.app import STATIC


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """What is tested here needs a browser, and no container engine."""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = found_chromium()
    reason = ""
    if found is None:
        reason = "there is no Chromium; on Debian and Ubuntu, install chromium"
    elif not (STATIC / "vendor" / "uplot").is_dir():
        reason = "the chart library is not there; `make e2e` fetches it"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return str(found)


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[Open]:
    async with opened_pages(browser) as open_page:
        yield open_page


@pytest.fixture
def webui(redis: RedisServer, processes: ServiceProcesses) -> ServiceProcess:
    return processes.start("webui", REDIS_URL=redis.url)


@pytest.fixture
def url(webui: ServiceProcess) -> str:
    return f"http://127.0.0.1:{webui.port}/"


@pytest.fixture
async def mining(redis: RedisServer) -> AsyncIterator[Mining]:
    async with mining_system(redis) as mining:
        yield mining


@pytest.fixture(scope="session")
def axe(chromium: str) -> str:
    """axe-core's source."""
    source = Path(__file__).parents[3] / "webui_svc" / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        reason = "axe-core is not there; `npm ci` in webui_svc fetches it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return source.read_text()
