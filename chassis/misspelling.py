"""Variables that were probably meant to be others: PCAE for PACE, WORKER for WORKERS."""

from collections.abc import Iterable, Mapping

# Letters of a name that is one edit away from words that other programs may use: PORT from POST and PORTS.
SHORT = 4


def find(names: Iterable[str], known: Iterable[str]) -> Mapping[str, str]:
    """The names that are not known and one edit away from one that is, with that one.

    An edit is a letter too many, one too few, one for another, or two that have changed places. Of a short name only
    one too few and two that have changed places count, since the others make words.
    """
    known = set(known)
    unknown = sorted(name for name in names if name not in known)
    return {name: meant for name in unknown for meant in sorted(known, reverse=True) if _is_near(name, meant)}


def _is_near(name: str, meant: str) -> bool:
    different = [at for at, (a, b) in enumerate(zip(name, meant, strict=False)) if a != b]
    if len(name) == len(meant):
        match different:
            case [_]:
                return len(meant) > SHORT
            case [at, after]:
                return after == at + 1 and name[at] + name[after] == meant[after] + meant[at]
        return False
    shorter, longer = sorted((name, meant), key=len)
    at = different[0] if different else len(shorter)
    return longer[:at] + longer[at + 1 :] == shorter and (longer == meant or len(meant) > SHORT)
