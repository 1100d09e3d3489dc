"""The documentation. The modules generate the tables of the pages that repeat what the code defines."""

BEGIN = "<!-- generated: begin -->\n"
END = "<!-- generated: end -->\n"


def with_generated(page: str, generated: str) -> str:
    """Return a page whose generated part is replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{generated}{END}{after}"
