"""The page shows the containers that are really there, as they are scaled and killed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Locator, Page, expect
from support.chromium import chromium, opened_pages, shoot, until_text
from support.compose_project import ComposeProject, Start, docker

APPEARS = 4.0
"""Seconds after a replica listens, or after it is gone, in which the page shows that."""


@pytest.fixture(scope="module")
def project(make_module_project: Start) -> ComposeProject:
    project: ComposeProject = make_module_project()
    project.up()
    return project


@pytest.fixture
async def page(project: ComposeProject) -> AsyncIterator[Page]:
    async with chromium() as browser, opened_pages(browser) as open_page:
        yield await open_page(f"http://127.0.0.1:{project.page}/")


def service(page: Page, name: str) -> Locator:
    return page.locator(f"[data-service={name}]").get_by_role("listitem")


def host_names(project: ComposeProject, name: str) -> list[str]:
    return [container["Config"]["Hostname"] for container in project.containers(name)]


async def test_replicas_show_by_host_name_soon_after_they_are_there_and_go(project: ComposeProject, page: Page) -> None:
    await until_text(page, "#status", "^Live$")
    await expect(service(page, "rng")).to_contain_text(host_names(project, "rng"))
    project.ask("up", "--detach", "--no-recreate", "--scale", "rng=3")
    began = time.monotonic()
    for name in host_names(project, "rng"):
        box = service(page, "rng").filter(has_text=name)
        await expect(box).to_contain_text("serving", timeout=APPEARS * 1e3)
    assert time.monotonic() - began < APPEARS
    victim = host_names(project, "rng")[1]
    docker("kill", victim)
    await expect(service(page, "rng").filter(has_text=victim)).to_contain_text("gone", timeout=APPEARS * 1e3)
    await shoot(page, "one-of-three-killed")
    await expect(service(page, "rng").filter(has_text=victim)).to_have_count(0, timeout=15_000)
    await expect(service(page, "rng")).to_have_count(2)


async def test_the_speed_is_the_workshops(project: ComposeProject, page: Page) -> None:
    await until_text(page, "#speed", r"^3\.3[0-9]$")
    await expect(service(page, "worker")).to_have_count(1)
    await expect(service(page, "hasher")).to_contain_text(host_names(project, "hasher"))
    await expect(service(page, "webui")).to_contain_text(host_names(project, "webui"))


async def test_a_page_left_open_heals_when_webui_is_started_again(project: ComposeProject, page: Page) -> None:
    await until_text(page, "#status", "^Live$")
    stopped = time.time()
    project.ask("stop", "webui")
    await until_text(page, "#status", "Connection lost")
    project.ask("start", "webui")
    await until_text(page, "#status", "^Live$")
    live = time.time()
    # Before that, a replica was killed, which may well have cost a batch's time.
    meanwhile = [hashes for second, hashes in await history_up_to(page, live) if second > stopped]
    assert len(meanwhile) >= live - stopped - 1
    assert all(hashes > 3 for hashes in meanwhile)


async def history_up_to(page: Page, moment: float) -> list[tuple[float, float]]:
    """The points of the graph, once it has come so far: what all workers have reported is some seconds old."""
    async with asyncio.timeout(15):
        while True:
            answer = json.loads(await page.evaluate("fetch('api/history?seconds=60').then(answer => answer.text())"))
            points: list[tuple[float, float]] = answer["points"]
            if points and points[-1][0] >= moment:
                return points
            await asyncio.sleep(0.2)
