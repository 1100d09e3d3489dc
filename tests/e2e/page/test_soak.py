import asyncio
import time

import pytest
from playwright.async_api import CDPSession
from support.chromium import Open, until_painted, until_text
from support.mining import Mining

MINUTES = 10
# In ten minutes as many reports as in more than an hour and a half otherwise.
REPORT_INTERVAL_S = 0.1

# Then a page knows all that it will keep of the shortest time, and its code is compiled.
SETTLED_S = 60

# Fifteen minutes by the second are a tenth of it.
MAX_GROWTH_BYTES = 1_000_000


async def heap(session: CDPSession) -> float:
    await session.send("HeapProfiler.collectGarbage")
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "JSHeapUsedSize"))


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="session")
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
