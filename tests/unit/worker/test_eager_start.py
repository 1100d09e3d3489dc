import asyncio
import gc

import pytest

from worker_svc.eager_start import EagerStart


async def test_what_comes_before_the_first_wait_happens_at_once() -> None:
    steps = []
    opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        steps.append("begun")
        steps.append(await opened)
        await asyncio.sleep(0)
        steps.append("done")

    started = EagerStart(work())
    assert steps == ["begun"]
    opened.set_result("opened")
    assert steps == ["begun"]
    await started
    assert steps == ["begun", "opened", "done"]


async def test_a_coroutine_that_never_waits_is_done_at_once() -> None:
    steps = []

    async def work() -> None:
        steps.append("done")

    started = EagerStart(work())
    assert steps == ["done"]
    await started


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_reaches_who_awaits_and_nobody_earlier(waits: bool) -> None:  # noqa: FBT001 - a parameter
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError("broken")

    started = EagerStart(work())
    with pytest.raises(ValueError, match="broken"):
        await started


async def test_an_error_of_what_it_waits_for_reaches_the_coroutine() -> None:
    caught = []
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            await failing
        except ValueError as error:
            caught.append(str(error))

    started = EagerStart(work())
    failing.set_exception(ValueError("broken"))
    await started
    assert caught == ["broken"]


async def test_cancelling_who_awaits_cancels_the_coroutine() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def rest(started: EagerStart) -> None:
        await started

    task = asyncio.create_task(rest(EagerStart(work())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


@pytest.mark.parametrize("abandoned", [False, True])
async def test_nobody_is_told_how_an_abandoned_one_ends(abandoned: bool) -> None:  # noqa: FBT001 - a parameter
    """One that is only forgotten is told of by asyncio."""
    told: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    failing: asyncio.Future[None] = loop.create_future()
    left = []

    async def work(waiting: "asyncio.Future[None]") -> None:
        try:
            await waiting
        finally:
            left.append("work")

    started = EagerStart(work(failing))
    if abandoned:
        started.abandon()
        assert left == ["work"]
        await started
    failing.set_exception(ValueError("broken"))
    await asyncio.sleep(0)
    del started, failing
    gc.collect()
    assert len(told) == (0 if abandoned else 1)
