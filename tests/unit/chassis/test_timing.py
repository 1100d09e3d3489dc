import asyncio

import pytest

from chassis.timing import deadline


async def test_it_says_what_took_how_long() -> None:
    with pytest.raises(TimeoutError, match=r"^no answer within 0\.01 s$"):
        async with deadline(0.01, "answer"):
            await asyncio.sleep(60)


async def test_another_timeout_inside_keeps_its_words() -> None:
    with pytest.raises(TimeoutError, match="theirs"):
        async with deadline(60, "answer"):
            raise TimeoutError("theirs")
