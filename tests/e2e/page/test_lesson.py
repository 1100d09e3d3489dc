"""What a class does with the page: real services as processes, ten workers on one rng, and what breaks them."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from support.admin_endpoint import http_get
from support.chromium import opened_pages, shoot, until_painted, until_text
from support.free_port import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses
from support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORKERS = 10

# How long there is no hasher.
AWAY_S = 8.0

# One rng allows ten hashes a second. What its workers had in flight may be counted in one more.
MOST_PER_S = 20.0


class Classroom:
    """The five services at the classic pace; a replica keeps its port when it starts again."""

    def __init__(self, processes: ServiceProcesses, redis: RedisServer) -> None:
        self._processes = processes
        self._redis = redis
        self._ports = {name: free_port() for name in ("rng-1", "hasher-1", "hasher-2", "webui-1")}
        self.running: dict[str, ServiceProcess] = {}

    def start(self, name: str) -> None:
        service, env = name.partition("-")[0], {"INSTANCE": name, "REDIS_URL": self._redis.url}
        if service == "worker":
            targets = {each: self._targets(each) for each in ("rng", "hasher")}
            env |= {"RNG_TARGET": targets["rng"], "HASHER_TARGET": targets["hasher"]}
        else:
            env["PORT"] = str(self._ports[name])
        self.running[name] = self._processes.start(service, **env)

    def _targets(self, service: str) -> str:
        return "ipv4:" + ",".join(f"127.0.0.1:{port}" for name, port in self._ports.items() if service in name)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['webui-1']}/"

    def responds(self) -> bool:
        try:
            return http_get(self._ports["webui-1"], "/readyz")[0] == 200
        except OSError:
            return False


@pytest_asyncio.fixture(loop_scope="session")
async def classroom(processes: ServiceProcesses, own_redis: RedisServer) -> Classroom:
    classroom = Classroom(processes, own_redis)
    for name in ("webui-1", "rng-1", "hasher-1", "hasher-2", *(f"worker-{number}" for number in range(1, WORKERS + 1))):
        classroom.start(name)
    await until(classroom.responds)
    return classroom


@pytest_asyncio.fixture(loop_scope="session")
async def page(classroom: Classroom, browser: Browser) -> AsyncIterator[Page]:
    async with opened_pages(browser) as open_page:
        yield await open_page(classroom.url, viewport={"width": 1280, "height": 720})


async def test_a_class_finds_the_bottleneck_and_breaks_the_system(classroom: Classroom, page: Page) -> None:
    running = classroom.running

    async def until_state(name: str, pattern: str, limit_s: float = 30) -> None:
        box = page.locator(".replica").filter(has=page.get_by_text(name, exact=True))
        await expect(box.locator(".state")).to_have_text(re.compile(pattern), timeout=limit_s * 1_000)

    async def history() -> list[float | None]:
        return [
            hashes for _, hashes in (await (await page.request.get(f"{classroom.url}api/history")).json())["points"]
        ]

    # The bottleneck is seen, and explained on request.
    await until_text(page, "#workers", "^10$")
    await until_text(page, "#speed", r"^(9\.[5-9]|10\.)")
    await shoot(page, "bottleneck")
    await expect(page.locator(".limit:visible")).to_have_count(0)
    await page.keyboard.press("w")
    await until_text(page, "#why", "^rng is the limit: 1 replica . 100 ms = .*; [789] of 10 workers are waiting for it")
    await expect(page.get_by_role("group", name="rng").locator(".limit")).to_be_visible()
    await until_painted(page, "late", 0.3)  # the speed that is predicted
    await shoot(page, "bottleneck-why")
    await page.keyboard.press("w")

    # A replica freezes, wakes up, and is killed.
    running["hasher-2"].send(signal.SIGSTOP)
    await until_state("hasher-2", "slow", 5)
    await shoot(page, "frozen")
    running["hasher-2"].send(signal.SIGCONT)
    await until_state("hasher-2", "serving")
    running["hasher-2"].kill()
    await until_state("hasher-2", "gone|connecting")

    # Without any hasher nothing is counted, and the page says so at once. It comes back without a peak.
    running["hasher-1"].kill()
    await until_text(page, "#speed", "^0$")
    await until_text(page, "#status", "^Workers wait for hasher$")
    await asyncio.sleep(AWAY_S)
    await shoot(page, "hasher-away")
    classroom.start("hasher-1")
    await until_text(page, "#status", "^Live$")
    await until_text(page, "#speed", r"^(9\.[5-9]|10\.)")
    points = await history()
    # The batch that each worker had in flight is counted in the end, over all the time that it took.
    assert min(point or 0 for point in points) <= WORKERS / AWAY_S
    assert max(point or 0 for point in points) <= MOST_PER_S

    # webui stops and starts again: the page comes back by itself, and nothing is forgotten.
    await asyncio.to_thread(running["webui-1"].stop)
    await until_text(page, "#status", "^Connection lost")
    await shoot(page, "webui-away")
    classroom.start("webui-1")
    await until_text(page, "#status", "^Live$")
    await until_painted(page, "line", 0.05)
    await page.locator("summary", has_text="change").press("Enter")
    for change in ("10 workers joined", "hasher-2 slow", "lost", "hasher-1 joined", "wait for hasher"):
        await expect(page.get_by_role("list", name="Changes")).to_contain_text(change)
    await shoot(page, "webui-back")
