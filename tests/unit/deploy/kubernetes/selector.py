from collections.abc import Mapping

from unit.deploy.kubernetes.rendered import Object


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """As https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ has it; an empty one matches all."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(_holds(each, labels) for each in selector.get("matchExpressions", []))


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    holds = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return holds[expression["operator"]]
