import pytest
from support.lab_script import Look, Picture, Step, kinds, matches, steps

TEXT = """\
# A lab

```console
$ first
1$ second   # within 15 seconds
9.5 to 10.5 hashes/s
2$ cat <<END
> line
> END
line

    no prompt: $ is inside
```

<picture data-view="why" data-part=".graph, .system">
  <source media="(prefers-color-scheme: dark)" srcset="images/01-ten-dark.png">
  <img alt="What is seen" src="images/01-ten-light.png">
</picture>

```page why
9.5 to 10.5
hashes per second
```

```python
not_run()
```

- ```console docker
  $ docker compose up   # within 120 seconds
  ...
  ```

```console
1$ Ctrl-C
```
"""


def test_a_block_is_commands_for_terminals_each_with_the_lines_that_are_seen() -> None:
    assert kinds(TEXT) == ["laptop", "docker"]
    assert list(steps(TEXT, "laptop")) == [
        Step(4, 1, "first"),
        Step(5, 1, "second", 15, ["9.5 to 10.5 hashes/s"]),
        Step(7, 2, "cat <<END\nline\nEND", None, ["line", "", "    no prompt: $ is inside"]),
        Picture(15, "why", ".graph, .system", "01-ten"),
        Look(21, "why", ["9.5 to 10.5", "hashes per second"]),
        Step(35, 1, "Ctrl-C"),
    ]
    assert list(steps(TEXT, "docker")) == [Step(30, 1, "docker compose up", 120, ["..."])]


def test_a_block_that_begins_without_a_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2 has no prompt: output"):
        list(steps("```console\noutput\n```\n", "laptop"))


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        ("as it is", "as it is"),
        ("a.c [0-9]*", "a.c [0-9]*"),
        ("  rng-1   serving", "  rng-1      serving  "),
        ("9.5 to 10.5 hashes/s", "9.5 hashes/s"),
        ("9.5 to 10.5 hashes/s", "10.5 hashes/s"),
        ("1,000 to 2,000,000", "1,234,567"),
        ("0 to 4, mean 2 to 9", "1.2, mean 5.3"),
        ("-5 to 5", "-3"),
        ("1 to 2 of 3 to 4", "1.5 of 3.5"),
        ("from ... on", "from here on"),
        ("... 1 to 2 s", "it took 1.5 s"),
        ("first/.../last", "first/middle/.../last"),
        ("...", ""),
        ("counted N, logged N", "counted 17, logged 17"),
        ("N/M/N", "1/2/1"),
    ],
)
def test_a_line_is_like_the_expected_one(expected: str, shown: str) -> None:
    assert matches([expected], [shown]) is not None


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        ("as it is", "As it is"),
        ("as it is", "as it is not"),
        ("a.c", "abc"),
        ("9.5 to 10.5 hashes/s", "10.51 hashes/s"),
        ("9.5 to 10.5 hashes/s", "9.49 hashes/s"),
        ("9.5 to 10.5 hashes/s", "9.5 to 10.5 hashes/s"),
        ("9.5 to 10.5 hashes/s", "no hashes/s"),
        ("... 9.5 to 10.5 hashes/s", "x 19.9 hashes/s"),
        ("... 5 to 10 hashes/s", "x 1,006 hashes/s"),
        ("1 to 2 ...", "1.5.7 of it"),
        ("counted N, logged N", "counted 17, logged 18"),
        ("counted N", "counted none"),
    ],
)
def test_a_line_is_another_than_the_expected_one(expected: str, shown: str) -> None:
    assert matches([expected], [shown]) is None


@pytest.mark.parametrize(
    ("expected", "shown", "like"),
    [
        ([], [], True),
        ([], ["something"], False),
        (["a"], [], False),
        (["a"], ["a", "b"], False),
        (["a"], ["a", "", " "], True),
        (["a"], ["a", "", "b"], False),
        (["a", "..."], ["a"], True),
        (["a", "..."], ["a", "b", "c"], True),
        (["a", "...", "c"], ["a", "c"], True),
        (["a", "...", "c"], ["a", "b", "c", "c"], True),
        (["a", "...", "c"], ["a", "b"], False),
        (["...", "1 to 2", "..."], ["0", "3", "1.5", "7"], True),
        (["...", "1 to 2", "3 to 4"], ["1", "2", "3"], True),
        # Whatever the first N could be, the second one decides.
        (["...", "N", "N", "..."], ["1", "2", "2", "3"], True),
        (["...", "N", "N", "..."], ["1", "2", "3"], False),
    ],
)
def test_lines_follow_each_other_and_dots_are_any_of_them(expected: list[str], shown: list[str], *, like: bool) -> None:
    assert (matches(expected, shown) is not None) == like


def test_a_named_number_stays_the_same_in_later_steps() -> None:
    names = matches(["counted N"], ["counted 17"])
    assert names is not None
    assert matches(["logged N"], ["logged 17"], names) == names
    assert matches(["logged N"], ["logged 18"], names) is None
