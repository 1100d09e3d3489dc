import asyncio

import pytest
from support.virtual_time import freeze

from chassis.timing import deadline


async def test_the_error_of_a_deadline_says_what_was_late() -> None:
    with pytest.raises(TimeoutError, match=r"^no answer within 0\.01 s$"):
        async with deadline(0.01, "answer"):
            await asyncio.sleep(60)


async def test_the_error_of_a_deadline_says_that_this_process_itself_was_held_up() -> None:
    async def answer() -> None:
        freeze(5)
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError, match=r"^no answer within 2 s; this process itself was held up for 3\.0 s$"):
        async with deadline(2, "answer"):
            await answer()


async def test_a_timeout_error_of_the_block_passes_as_it_is() -> None:
    with pytest.raises(TimeoutError, match="theirs"):
        async with deadline(60, "answer"):
            raise TimeoutError("theirs")
