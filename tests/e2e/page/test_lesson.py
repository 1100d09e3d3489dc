"""What a class does with the page: real services as processes, ten workers on one rng, and what breaks them.

The tests of the one system run in their order: each goes on where the one before stopped.
"""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, expect
from support.admin_endpoint import http_get
from support.chromium import opened_pages, shoot, until_painted, until_text
from support.free_port import free_port
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, ServiceProcesses, service_processes
from support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

WORKERS = 10

# How long there is no hasher.
AWAY_S = 30.0

# From the death of the last hasher to a speed of 0 on the page.
ZERO_WITHIN_S = 5.0

# From a replica's failure to its state on the page.
SHOWN_WITHIN_S = 3.0

# What a busy machine may add.
BUSY_S = 3.0

# One rng allows ten hashes a second. The reports of ten workers begin and end at moments of their own, and late ones
# leave more to one second and less to the next, so this is the mean of two.
MOST_PER_S = 10.5

# Hashes per second at the full pace on any machine, and at the classic pace with one worker.
LEAST_FULL_PER_S = 10_000
CLASSIC = r"^3\.[123]"

LAPTOP: ViewportSize = {"width": 1280, "height": 720}


class Classroom:
    """The five services at one pace; a replica keeps its port when it starts again."""

    def __init__(self, processes: ServiceProcesses, redis: RedisServer, pace: str = "classic") -> None:
        self.pace = pace
        self._processes = processes
        self._redis = redis
        self._ports = {name: free_port() for name in ("rng-1", "hasher-1", "hasher-2", "webui-1")}
        self.running: dict[str, ServiceProcess] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            service, env = name.partition("-")[0], {"INSTANCE": name, "REDIS_URL": self._redis.url, "PACE": self.pace}
            if service == "worker":
                env |= {f"{each.upper()}_TARGET": self._targets(each) for each in ("rng", "hasher")}
            else:
                env["PORT"] = str(self._ports[name])
            self.running[name] = self._processes.start(service, **env)
        if "webui-1" in names:
            await until(self._responds)

    async def stop(self, *names: str) -> None:
        await asyncio.gather(*[asyncio.to_thread(self.running[name].stop) for name in names])

    def _targets(self, service: str) -> str:
        return "ipv4:" + ",".join(f"127.0.0.1:{self._ports[name]}" for name in self.running if name.startswith(service))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports['webui-1']}/"

    def _responds(self) -> bool:
        try:
            return http_get(self._ports["webui-1"], "/readyz")[0] == 200
        except OSError:
            return False


@contextmanager
def classroom_in(folder: Path) -> Iterator[Classroom]:
    with redis_server(folder / "redis") as redis, service_processes(folder) as processes:
        yield Classroom(processes, redis)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def classroom(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Classroom]:
    """One rng, two hashers and ten workers."""
    with classroom_in(tmp_path_factory.mktemp("classroom")) as classroom:
        workers = [f"worker-{number}" for number in range(1, WORKERS + 1)]
        await classroom.start("webui-1", "rng-1", "hasher-1", "hasher-2", *workers)
        yield classroom


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def page(classroom: Classroom, browser: Browser) -> AsyncIterator[Page]:
    async with opened_pages(browser) as open_page:
        yield await open_page(classroom.url, viewport=LAPTOP)


async def until_state(page: Page, name: str, pattern: str, limit_s: float = 30) -> None:
    box = page.locator(".replica").filter(has=page.get_by_text(name, exact=True))
    await expect(box.locator(".state")).to_have_text(re.compile(pattern), timeout=limit_s * 1_000)


async def history(page: Page) -> dict[int, float | None]:
    """Return the hashes by second."""
    response = await page.request.get(f"{page.url.partition('#')[0]}api/history")
    return dict((await response.json())["points"])


async def changes(page: Page) -> list[str]:
    return await page.locator("#change-list li").all_inner_texts()


async def test_a_class_guesses_the_bottleneck_and_sees_why(page: Page) -> None:
    await until_text(page, "#workers", "^10$")
    await until_text(page, "#speed", r"^(9\.[5-9]|10\.[0-3])")
    await expect(page).to_have_title(re.compile(r"^(9\.\d+|10\.\d)/s . DockerCoins$"))
    await shoot(page, "bottleneck")
    await expect(page.locator(".limit:visible")).to_have_count(0)
    await expect(page.locator("#why")).to_be_hidden()
    await page.keyboard.press("w")
    sentence = r"^rng is the limit: 1 replica . (9\d(\.\d)?|10\d) ms = .*; [789] of 10 workers are waiting for it"
    await until_text(page, "#why", sentence)
    await expect(page.get_by_role("group", name="rng").locator(".limit")).to_be_visible()
    await expect(page.locator(".limit:visible")).to_have_count(1)
    await until_painted(page, "late", 0.3)  # the speed that is predicted
    await shoot(page, "bottleneck-why", whole=False)
    assert await page.locator(".system").evaluate("(system) => system.getBoundingClientRect().bottom <= innerHeight")


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [
        ("phone", 390, 844, "dark"),
        ("720", 1280, 720, "dark"),
        ("1080", 1920, 1080, "light"),
        ("4k", 3840, 2160, "dark"),
    ],
)
async def test_the_reason_is_seen_on_every_screen(page: Page, name: str, width: int, height: int, scheme: str) -> None:
    await page.set_viewport_size({"width": width, "height": height})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await page.keyboard.press("f")
    await expect(page.locator("#why")).to_contain_text("rng is the limit")
    await until_painted(page, "late", 0.2)
    await shoot(page, f"bottleneck-presented-{name}")
    await page.keyboard.press("f")
    await page.set_viewport_size(LAPTOP)
    await page.emulate_media(color_scheme="light")


async def test_a_frozen_replica_is_slow_within_three_seconds_until_it_wakes_and_a_killed_one_is_gone(
    classroom: Classroom, page: Page
) -> None:
    hasher = classroom.running["hasher-2"]
    await page.keyboard.press("w")
    hasher.send(signal.SIGSTOP)
    await until_state(page, "hasher-2", "slow", SHOWN_WITHIN_S + BUSY_S)
    await shoot(page, "frozen")
    hasher.send(signal.SIGCONT)
    await until_state(page, "hasher-2", "serving")
    hasher.kill()
    await until_state(page, "hasher-2", "gone|connecting", SHOWN_WITHIN_S + BUSY_S)
    await shoot(page, "killed")


async def test_without_a_hasher_the_speed_is_0_at_once_and_its_return_makes_no_peak(
    classroom: Classroom, page: Page
) -> None:
    clock = asyncio.get_running_loop().time
    classroom.running["hasher-1"].kill()
    killed = clock()
    await until_text(page, "#speed", "^0$")
    zero_after_s = clock() - killed
    await until_text(page, "#status", "^Workers wait for hasher$")
    await asyncio.sleep(AWAY_S - zero_after_s)
    away = await history(page)
    await shoot(page, "hasher-away")
    await classroom.start("hasher-1")
    await until_text(page, "#status", "^Live$")
    await until_text(page, "#speed", r"^(9\.[5-9]|10\.[0-3])")
    await shoot(page, "hasher-back")
    back = await history(page)
    assert zero_after_s <= ZERO_WITHIN_S + BUSY_S
    # What was 0 gets the batch that each worker had in flight, and what else is in the same report, over all that time:
    # one batch more, or two where the report is late.
    gap = [second for second, hashes in away.items() if hashes == 0]
    assert len(gap) > AWAY_S / 2  # on a busy machine, reports are late
    filled = {second: back[second] for second in gap}
    assert all(0 < (hashes or 0) <= 3 * WORKERS / len(gap) for hashes in filled.values()), filled
    since = [hashes or 0 for second, hashes in back.items() if second >= gap[0]]
    assert max(map(sum, pairwise(since))) / 2 <= MOST_PER_S, since


async def test_a_webui_that_restarts_forgets_nothing(classroom: Classroom, page: Page) -> None:
    await page.locator("summary", has_text="change").press("Enter")
    listed = await changes(page)
    for change in ("10 workers joined", "hasher-2 slow", "lost", "hasher-1 joined", "wait for hasher"):
        assert any(change in each for each in listed), change
    before = await history(page)
    await classroom.stop("webui-1")
    await until_text(page, "#status", "^Connection lost")
    await shoot(page, "webui-away")
    await classroom.start("webui-1")
    await until_text(page, "#status", "^Live$")
    await until_painted(page, "line", 0.8)
    await shoot(page, "webui-back")
    # Changes of one moment have no order.
    assert sorted((await changes(page))[-len(listed) :]) == sorted(listed)
    after = await history(page)
    assert {second: after.get(second) for second in list(before)[:-5]} == dict(list(before.items())[:-5])


async def test_the_classic_pace_after_the_full_one_is_no_flat_line(browser: Browser, tmp_path: Path) -> None:
    with classroom_in(tmp_path) as classroom:
        system = ("rng-1", "hasher-1", "worker-1")
        classroom.pace = "full"
        await classroom.start("webui-1", *system)
        async with opened_pages(browser) as open_page:
            page = await open_page(classroom.url, viewport=LAPTOP)
            await until_text(page, "#pace", "^full$")
            await asyncio.sleep(8)
            await shoot(page, "full")
            await classroom.stop(*system)
            fast = max(hashes or 0 for hashes in (await history(page)).values())
            assert fast > LEAST_FULL_PER_S
            classroom.pace = "classic"
            await classroom.start(*system)
            await until_text(page, "#pace", "^classic$")
            await until_text(page, "#speed", CLASSIC)
            await asyncio.sleep(8)
            await page.wait_for_function(f"() => {{ const at = ({_HEIGHT})(); return at > 0.5 && at < 0.9; }}")
            await shoot(page, "classic-after-full")
            await page.get_by_role("radio", name="Log").press("Space")
            await page.wait_for_function(f"() => ({_HEIGHT})() < 0.5")
            await shoot(page, "classic-after-full-log")


# How high the curve ends, 0 to 1 of the graph.
_HEIGHT = """() => {
  const canvas = document.querySelector('#chart canvas');
  const { data, height } = canvas.getContext('2d').getImageData(canvas.width - 40, 0, 1, canvas.height);
  const isLine = (y) => Math.abs(data[4 * y] - 11) + Math.abs(data[4 * y + 1] - 107) < 30;
  const first = [...Array(height).keys()].find(isLine);
  return first === undefined ? 0 : 1 - first / height;
}"""
