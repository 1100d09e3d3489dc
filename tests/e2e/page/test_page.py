"""What people do with the page, in a real Chromium: open it, watch it, lose the connection, use only the keyboard."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import CDPSession, Page, expect
from support.chromium import HIDE, Open, painted, shoot, until_painted, until_text
from support.mining import Mining, load_test
from support.redis_server import RedisServer
from support.reports import Reports

WholePage = Callable[..., Awaitable[Page]]

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Of all that the page fetches, as it comes over the wire, up to the first drawing of the graph.
MOST_BYTES = 150 * 1_024

# A tab's CPU is that of its frames: seven steps of the dots and a few updates. With the browser's own animations it was
# sixty, and 0.15 of a core.
MOST_FRAMES_PER_S = 20

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}

# How the page is looked at: what is on, what is pressed, and the options of its tab.
VIEWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "light-by-worker-open": ("", "By worker", {"color_scheme": "light"}),
    "light-why": ("why", "Total", {"color_scheme": "light"}),
    "light-words": ("", "Total", {"color_scheme": "light"}),
    "dark-open": ("", "Total", {"color_scheme": "dark"}),
    "dark-why-words": ("why", "Total", {"color_scheme": "dark"}),
    "dark-log": ("", "Log", {"color_scheme": "dark"}),
    "phone": ("why", "Total", {**PHONE, "color_scheme": "light"}),
    "phone-presentation": ("why&present", "Total", {**PHONE, "color_scheme": "dark"}),
    "small-phone": (
        "",
        "By worker",
        {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark", "has_touch": True},
    ),
    "projector": ("why&present", "Total", {"viewport": {"width": 1920, "height": 1080}, "color_scheme": "light"}),
    "4k": ("present", "By worker", {"viewport": {"width": 3840, "height": 2160}, "color_scheme": "dark"}),
}

# What people press, choose or scroll. Of several that exclude each other, the Tab key reaches the one that is chosen.
USABLE = 'button, a, select, summary, input:not([type="radio"]), input:checked, [tabindex="0"]'


async def test_the_page_opens_with_its_history_weighs_little_and_moves(
    open_page: Open, url: str, mining: Mining
) -> None:
    mining.write_past(300)
    page = await open_page("about:blank", locale="de-DE")
    sizes: list[int] = []
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    session.on("Network.dataReceived", lambda event: sizes.append(event["encodedDataLength"]))
    await page.goto(url)
    await until_painted(page, "line", 0.8)
    assert 20_000 < sum(sizes) < MOST_BYTES
    await until_text(page, "#speed", r"^10,0$")
    await until_text(page, "#hashes", r"^\d\.\d\d\d$")
    await until_text(page, "#status", "^Live$")
    await until_text(page, "#pace", "^classic$")
    before = await page.locator("#hashes").inner_text()
    await page.wait_for_function("(before) => document.querySelector('#hashes').textContent > before", arg=before)
    mining.rate = 30.0
    await until_text(page, "#speed", r"^30,0$")


async def test_an_empty_system_says_that_no_worker_reports_and_one_that_stands_still_what_it_waits_for(
    open_page: Open, url: str, own_redis: RedisServer
) -> None:
    page = await open_page(url)
    await until_text(page, "#status", "No worker reports")
    await until_text(page, "#speed", "^0$")
    await until_text(page, "#expected", "^$")
    since = time.time() - 9
    Reports(own_redis.client()).add(since, since, 0, stalled_since_us=int(since * 1e6), waits_for="hasher")
    await until_text(page, "#status", "^Workers wait for hasher$")


async def test_a_cut_connection_and_a_redis_that_is_away_are_shown_and_heal(
    open_page: Open, url: str, webui: TestServer, own_redis: RedisServer, mining: Mining
) -> None:
    mining.write_past(300)
    page = await open_page(url)
    await page.get_by_role("radio", name="1 min", exact=True).press("Space")
    await until_text(page, "#status", "^Live$")
    await until_painted(page, "line", 0.85)
    whole = await painted(page, "line")
    assert webui.runner is not None
    for listening in list(webui.runner.sites):
        await listening.stop()
    for connection in list(webui.handler.connections):
        connection.force_close()
    await until_text(page, "#status", "^Connection lost")
    await until_painted(page, "line", 0, whole - 0.05)  # time goes on, with nothing known of it
    await shoot(page, "connection-lost")
    await web.TCPSite(webui.runner, webui.host, webui.port).start()
    await until_text(page, "#status", "^Live$")
    await until_text(page, "#speed", r"^10\.0$")
    own_redis.stop()
    await until_text(page, "#status", "^Redis is unavailable")
    await until_text(page, "#speed", r"^10\.0$")
    await shoot(page, "redis-away")
    own_redis.start()
    await until_text(page, "#status", "^Live$")
    await until_painted(page, "line", 0.85)


async def test_what_fails_to_load_is_named_and_loaded_again(
    open_page: Open, url: str, failing: Counter[str], mining: Mining
) -> None:
    mining.write_past(300)
    failing.update({"page.js": 2, "page.css": 1, "events": 1})
    page = await open_page(url)
    await until_text(page, "#status", r"^page\.(js|css) did not load, trying again \(\d\)$")
    await shoot(page, "script-failed")
    await until_text(page, "#status", "^Live$")
    await until_painted(page, "line", 0.8)
    assert failing.total() == 0
    await expect(page.locator("link[rel=stylesheet]")).to_have_count(1)


async def test_ten_tabs_of_a_browser_share_one_stream_and_each_can_have_its_own(
    open_page: Open, url: str, failing: Counter[str], mining: Mining
) -> None:
    mining.write_past(300)
    first = await open_page(url)
    tabs = [first, *[await first.context.new_page() for _ in range(9)]]
    await asyncio.gather(*[tab.goto(url) for tab in tabs[1:]])
    for tab in tabs:
        await until_text(tab, "#status", "^Live$")
        await until_text(tab, "#hashes", r"^\d,\d\d\d$")
    browsers = first.get_by_role("group", name="webui").locator(".value")
    await expect(browsers).to_have_text("1")
    for tab in tabs[:9]:
        await tab.close()
    hashes = await tabs[9].locator("#hashes").inner_text()
    await tabs[9].wait_for_function("(before) => document.querySelector('#hashes').textContent !== before", arg=hashes)
    # Browsers that share no workers, and a worker that can't be loaded.
    for script, failures in (("delete window.SharedWorker", 0), ("", 3)):
        failing["shared-worker.js"] = failures
        tab = await open_page("about:blank")
        await tab.add_init_script(script)
        await tab.goto(url)
        await until_text(tab, "#status", "^Live$")
        await until_text(tab, "#speed", r"^10\.0$")
        failing.clear()
    await expect(tab.get_by_role("group", name="webui").locator(".value")).to_have_text("3")


async def test_all_is_reached_by_keyboard_alone(
    open_page: Open, url: str, own_redis: RedisServer, mining: Mining
) -> None:
    mining.write_past(400)
    Reports(own_redis.client()).annotate(time.time() - 9, "slow", "rng", "rng-1")
    page = await open_page(url)
    await until_painted(page, "line", 0.8)
    for _ in range(6):  # three buttons, then the curve, the scale and the time
        await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.value") == "300"
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("img", name="last 15 minutes")).to_be_visible()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("img", name="last 60 minutes")).to_be_visible()
    for _ in range(3):
        await page.keyboard.press("ArrowLeft")
    await expect(page.get_by_role("img", name="last minute")).to_be_visible()
    await until_painted(page, "line", 0.8)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")  # from now on: thirty seconds are shown at least, and little of them is new
    await until_painted(page, "line", 0.01, 0.4)
    await page.keyboard.press("Enter")
    await until_painted(page, "line", 0.8)
    why, present = (page.get_by_role("button", name=name) for name in ("Why?", "Present"))
    await page.keyboard.press("w")
    await expect(why).to_have_attribute("aria-pressed", "true")
    await expect(page.locator("#why")).to_be_visible()
    await page.keyboard.press("f")
    await expect(page.locator("#coins-card")).to_be_hidden()
    assert page.url.endswith("#why&present")
    await page.reload()  # the address keeps the view
    await expect(page.locator("#coins-card")).to_be_hidden()
    await until_text(page, "#status", "^Live$")
    await page.keyboard.press("Escape")
    await page.keyboard.press("w")
    await expect(present).to_have_attribute("aria-pressed", "false")
    await expect(page.locator("#why")).to_be_hidden()
    assert page.url == url
    await page.keyboard.press("?")
    words = page.get_by_role("dialog", name="Words on this page")
    await expect(words).to_contain_text("The service that computes SHA-256 digests.")
    await page.keyboard.press("Escape")
    await expect(words).to_be_hidden()
    await page.locator("summary", has_text="change").press("Enter")
    await page.locator("#change-list li").wait_for()
    for _ in range(await page.locator(USABLE).count() + 1):  # and the document itself
        await page.keyboard.press("Tab")
        await page.evaluate("document.activeElement.dataset.reached = ''")
    missed = page.locator(f":is({USABLE}):visible:not([data-reached])")
    assert await missed.evaluate_all("(found) => found.map((each) => each.outerHTML)") == []
    untold = (
        "[...document.querySelectorAll('[data-term], .fact, .state, h3')].filter((each) => !(each.title.length > 9))"
    )
    assert await page.evaluate(f"{untold}.map((each) => each.outerHTML)") == []


async def test_the_graph_shows_each_worker(open_page: Open, url: str, mining: Mining) -> None:
    mining.workers = ["worker-1-00000001", "worker-2-00000002"]
    mining.write_past(300)
    page = await open_page(url)
    await page.get_by_role("radio", name="By worker").press("Space")
    await until_painted(page, "series-1", 0.8)
    await until_painted(page, "series-2", 0.8)
    legend = page.get_by_role("list", name="Workers, by hashes per second")
    await expect(legend.get_by_role("listitem")).to_have_count(2)
    await expect(legend).to_contain_text("worker-2")
    await page.get_by_role("radio", name="Total").press("Space")
    await until_painted(page, "line", 0.8)
    await expect(legend).to_be_hidden()


async def test_replicas_changes_coins_and_load_tests_are_listed(open_page: Open, url: str, mining: Mining) -> None:
    mining.rate = 64.0
    mining.write_past(100)
    page = await open_page(url)
    replicas = page.get_by_role("group", name="rng").get_by_role("listitem")
    await expect(replicas).to_have_count(1)
    load_tests = page.get_by_role("region", name="Load tests")
    await expect(load_tests).to_be_hidden()
    mining.rngs |= {"rng-2": "serving"}
    mining.publish(load_test("2026-01-02T03:04:05+00:00"))
    mining.publish(load_test("2026-02-03T04:05:06+00:00", points=4))
    await expect(replicas).to_have_count(2)
    for text in ("rng-2", "serving", "p99"):
        await expect(replicas.nth(1)).to_contain_text(text)
    mining.rngs["rng-2"] = "gone"
    await expect(replicas.nth(1)).to_contain_text("gone")
    await page.locator("summary", has_text="change").press("Enter")
    for change in ("rng-2 joined", "rng-2 left"):
        await expect(page.get_by_role("list", name="Changes")).to_contain_text(change)
    coin = page.get_by_role("list", name="Latest coins").get_by_role("listitem").first
    await expect(coin).to_contain_text("0000")
    await expect(coin.locator(".digest mark")).to_have_text("0")
    await until_text(page, "#expected", r"^240 expected; 211.269 in 95.% of all minutes$")
    await expect(load_tests.get_by_role("option")).to_have_count(2)
    await load_tests.locator("summary").press("Enter")
    for report, rows in ((0, 9), (1, 11)):
        await load_tests.get_by_role("combobox").select_option(index=report)
        await expect(load_tests.get_by_role("row")).to_have_count(rows)
        await expect(load_tests.locator("canvas")).to_have_count(2)


async def metric(session: CDPSession, name: str) -> float:
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == name))


@pytest.fixture
def whole_page(open_page: Open, url: str, mining: Mining) -> WholePage:
    """Opens the page of a system that has something to show in every part of it."""
    mining.workers = [f"worker-{number}-0000000{number}" for number in (1, 2, 3)]
    mining.rngs = {"rng-1": "serving", "rng-2": "slow", "rng-3": "gone"}
    mining.hashers = {f"hasher-{number}": "serving" for number in range(1, 19)}
    mining.publish(load_test("2026-01-02T03:04:05+00:00"))
    mining.write_past(120)

    async def open_whole_page(view: str = "", **options: Any) -> Page:
        page = await open_page(f"{url}#{view}", **options)
        await until_painted(page, "line", 0.2)  # beside the axis, and beneath the speed that is predicted
        await until_text(page, "#status", "^Live$")
        await expect(page.get_by_role("group", name="hasher")).to_contain_text("+2 more")
        if "present" not in view:
            await expect(page.get_by_role("region", name="Load tests").locator("canvas")).to_have_count(2)
        return page

    return open_whole_page


@pytest.mark.parametrize("view", VIEWS)
async def test_nothing_is_cut_off_and_axe_finds_nothing(whole_page: WholePage, view: str) -> None:
    address, pressed, options = VIEWS[view]
    page = await whole_page(address, **options, reduced_motion="reduce")
    await page.get_by_role("radio", name=pressed).press("Space")
    legend = page.get_by_role("list", name="Workers, by hashes per second")
    await expect(legend).to_be_visible(visible=pressed == "By worker")
    if "open" in view:
        for summary in await page.locator("summary:visible").all():
            await summary.press("Enter")
    if "words" in view:
        await page.keyboard.press("?")
    await shoot(page, view, whole="words" not in view)
    if "present" in address and not options.get("has_touch"):
        assert await page.evaluate("document.documentElement.scrollHeight <= innerHeight")


async def test_ten_workers_and_three_of_each_server_fit_into_720_lines(
    open_page: Open, url: str, own_redis: RedisServer, mining: Mining
) -> None:
    mining.workers = [f"worker-{number}-{number:08}" for number in range(1, 11)]
    mining.rngs = {f"rng-{number}": "serving" for number in (1, 2, 3)}
    mining.hashers = {f"hasher-{number}": "serving" for number in (1, 2, 3)}
    mining.rate = 1.0
    mining.write_past(300)
    Reports(own_redis.client()).annotate(time.time() - 60, "joined", "worker", "worker-10")
    page = await open_page(url, viewport={"width": 1280, "height": 720})
    await expect(page.get_by_role("group", name="worker").get_by_role("listitem")).to_have_count(10)
    await expect(page.locator("#lane")).not_to_be_empty()
    for view in ("720", "720-why"):
        await shoot(page, view, whole=False)
        assert await page.locator(".system").evaluate(
            "(system) => system.getBoundingClientRect().bottom <= innerHeight"
        )
        await page.keyboard.press("w")
    await page.keyboard.press("w")
    bottom, lines = await page.evaluate(_LONGER_REASON)
    assert lines == 2
    assert bottom <= 720


# Where the system ends with a reason that is longer, and how many lines that has.
_LONGER_REASON = """() => {
  const why = document.querySelector('#why');
  why.textContent += ' rng-1 and rng-2 and rng-3 are slow.';
  const lines = Math.round(why.getBoundingClientRect().height / parseFloat(getComputedStyle(why).lineHeight));
  return [document.querySelector('.system').getBoundingClientRect().bottom, lines];
}"""


async def test_forty_replicas_are_seen_at_once_on_every_screen_in_every_view(
    open_page: Open, url: str, own_redis: RedisServer, mining: Mining
) -> None:
    mining.workers = [f"worker-{number}-{number:08}" for number in range(1, 17)]
    mining.rngs = {f"rng-{number}": "slow" if number == 3 else "serving" for number in range(1, 13)}
    mining.hashers = {f"hasher-{number}": "connecting" if number == 7 else "serving" for number in range(1, 13)}
    mining.rate = 1.0
    mining.write_past(300)
    Reports(own_redis.client()).annotate(time.time() - 60, "joined", "worker", "worker-16")
    page = await open_page(url, viewport={"width": 1280, "height": 720})
    await expect(page.locator("#topology .replica")).to_have_count(42)  # redis and webui, too
    await expect(page.locator("#lane")).not_to_be_empty()
    for width, height in ((1280, 720), (1920, 1080), (3840, 2160)):
        await page.set_viewport_size({"width": width, "height": height})
        for view, keys in (("", ""), ("-why", "w"), ("-present-why", "f"), ("-present", "w")):
            for key in keys:
                await page.keyboard.press(key)
            await shoot(page, f"forty-{height}{view}", whole=False)
            assert await page.evaluate(_ALL_SEEN) == []
        await page.keyboard.press("f")


# The replicas that a reader would have to scroll to.
_ALL_SEEN = """() => {
  const system = document.querySelector('.system');
  const bottom = Math.min(innerHeight, system.getBoundingClientRect().bottom);
  const replicas = [...document.querySelectorAll('.replica')].filter((each) => each.offsetParent);
  return replicas.filter((each) => each.getBoundingClientRect().bottom > bottom).map((each) => each.textContent);
}"""


async def test_motion_stops_on_request_and_while_the_tab_is_hidden_and_only_the_status_is_announced(
    whole_page: WholePage,
) -> None:
    page = await whole_page()
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    before = await metric(session, "RecalcStyleCount")
    await asyncio.sleep(3)
    assert (await metric(session, "RecalcStyleCount") - before) / 3 < MOST_FRAMES_PER_S
    live = "[aria-live], [role=status], [role=alert], [role=log]"
    assert await page.locator(live).evaluate_all("(found) => found.map((each) => each.id)") == ["status"]
    moves = """() => new Promise((answer) => {
      const offsets = () => [...document.querySelectorAll('.flow')].map((each) => each.style.strokeDashoffset).join();
      const before = offsets();
      setTimeout(() => answer(offsets() !== before), 600);
    })"""
    assert await page.evaluate(moves)
    await page.emulate_media(reduced_motion="reduce")
    assert not await page.evaluate(moves)
    await page.emulate_media(reduced_motion="no-preference")
    assert await page.evaluate(moves)
    hashes = await page.locator("#hashes").inner_text()
    await page.evaluate(HIDE, arg=True)
    assert not await page.evaluate(moves)
    await until_text(page, "title", "/s")
    assert await page.locator("#hashes").inner_text() == hashes
    await page.evaluate(HIDE, arg=False)
    assert await page.evaluate(moves)
    await page.wait_for_function("(before) => document.querySelector('#hashes').textContent !== before", arg=hashes)


MINUTES = 10
# In ten minutes as many reports as in more than an hour and a half otherwise.
REPORT_INTERVAL_S = 0.1

# Then a page knows all that it will keep of the shortest time, and its code is compiled.
SETTLED_S = 60

# Fifteen minutes by the second are a tenth of it.
MAX_GROWTH_BYTES = 1_000_000


async def heap(session: CDPSession) -> float:
    await session.send("HeapProfiler.collectGarbage")
    return await metric(session, "JSHeapUsedSize")


@pytest.mark.soak
@pytest.mark.timeout((MINUTES + 2) * 60)
async def test_the_heap_of_a_page_that_stays_open_does_not_grow(open_page: Open, url: str, mining: Mining) -> None:
    mining.write_past(890)
    mining.interval = REPORT_INTERVAL_S
    page = await open_page(url)
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    await until_text(page, "#status", "^Live$")
    await page.get_by_role("radio", name="15 min").press("Space")
    await until_painted(page, "line", 0.8)
    began = time.monotonic()
    settled = None
    round_ = 0
    while time.monotonic() - began < MINUTES * 60:
        round_ += 1
        await page.get_by_role("radio", name="By worker" if round_ % 2 else "Total").press("Space")
        mining.rngs = {"rng-1": "serving", f"rng-{round_ % 5 + 2}": "serving"}
        await asyncio.sleep(5)
        if settled is None and time.monotonic() - began > SETTLED_S:
            settled = await heap(session)
    assert settled is not None
    assert await heap(session) < settled + MAX_GROWTH_BYTES
