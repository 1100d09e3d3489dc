from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from system.discovery.mine import Mine


def side_by_side(scenario: Callable[[Mine], None], *mines: Mine) -> None:
    """Play a scenario in several mines at once: most of the time they only wait. Raises what it raised in the first."""
    with ThreadPoolExecutor(len(mines)) as executor:
        played = [executor.submit(scenario, mine) for mine in mines]
    for mine, each in zip(mines, played, strict=True):
        if (error := each.exception()) is not None:
            error.add_note(f"where the limit is {' and '.join(limit.service for limit in mine.limits)}")
            raise error
