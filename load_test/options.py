"""What a load test is to do: the command line and the environment."""

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from chassis import settings
from chassis.batch_limits import MAX_BATCH_MESSAGES
from chassis.redis.settings import RedisAccess
from chassis.settings import Field, LogLevel, Pace, Word
from load_test.conditions import ALLOWED, Condition
from load_test.measurement import SERVICES
from load_test.open_loop import RATE, Rate
from load_test.report import Mode
from worker_svc.settings import WorkerSettings

PROGRAM = "load-test"
STANDARD_OUTPUT = Path("-")

BATCH_SIZES = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536)
WINDOW_SIZE = 8
DURATION_S = 3.0

DESCRIPTION = """\
Measures the worker's own pipeline, from random bytes to digests, at many batch sizes: hashes/s, latency, CPU time.
It sends to the rng and hasher that are named, or starts those that are not, on this machine at full pace.
"""

EPILOG = """\
rate schedules, over the duration of a run; the warm-up uses the first rate:

  --rps 100               100 batches per second; without -n, -z or -d for 3 s
  --rate 10000            10,000 hashes per second
  --rate 1000,5000,20000  steps of equal length
  --rate 1000..50000      a line from one to the other; steps may be lines

A batch is a request to each of the two services, and the unit of -n, -c, --rps, latencies and errors.
A stream message carries all batches that wait, up to 64. Mode "uncoalesced" sends one batch in each message, and
"unary" sends each in a call of its own.

With a rate, batches are sent when they are due and latency runs from that moment, so the p99 includes the waits that a
stalled server causes. Without a rate, a batch is sent for each one that is done.

Services at LOG_LEVEL=info log up to ten requests per second of each client. Compare unary calls and streams with
services at LOG_LEVEL=warning, the level of those that the load test starts.

--compare judges the 95 % interval of each ratio: "no change" when it lies within the margin (--margin) around 1, else
"faster" or "slower" when it excludes 1, else "inconclusive (+N runs)", where about N more runs in each report would
decide. Fewer than 3 runs never decide. Up to 5 % of the points that did not change are expected to be "faster" or
"slower", and up to 2.5 % of those that changed by the margin to have "no change". With a rate, 1 / p99 is compared.
--fail-below fails when the whole interval is below RATIO, and --strict also where that is not decided.

--fail must hold for every point: p50, p90, p99, p99.9 or max (of a batch, in us, ms or s), errors (%: broken streams,
failed calls and batches without a response), or speed (hashes/s; k, M), each with <, <=, > or >=.

The variables RNG_TARGET, HASHER_TARGET, WINDOW_SIZE, MESSAGE_SIZE, MAX_ENDPOINTS, INSTANCE and LOG_LEVEL apply as they
do to a worker, as do TLS_CERT, TLS_KEY and TLS_CA for named targets, and REDIS_PASSWORD_FILE for --publish. FILE may be
- for standard output. Ctrl-C ends the measuring and reports the runs so far, also the first one of a
point when it is not finished.

exit codes: 0 measured; 1 a service failed, a report can't be written or published, --fail, or slower than --fail-below;
2 an argument or setting is not allowed; 3 inconclusive, with --strict; 130 interrupted.
"""

VARIED = "what is varied, in lists such as 1,4,16 (and the default)"


class Format(Word):
    """The format of a report."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


FORMATS_BY_ENDING = {".json": Format.JSON, ".csv": Format.CSV, ".md": Format.MARKDOWN}


@dataclass(frozen=True)
class Options:
    """What a load test is to do."""

    batch_sizes: Sequence[int]
    windows: Sequence[int]
    message_sizes: Sequence[int]
    modes: Sequence[Mode]
    # Seconds of each run, infinite where the batches are counted, and before it.
    duration: float
    # Batches of each run.
    requests: int | None
    warm_up: float
    # Runs per point.
    repeat: int
    # The rate schedule; None sends as fast as possible.
    rate: Rate | None
    # Only of the services that were named; the others are started here.
    targets: Mapping[str, str]
    format: Format
    # The file for the report in that format; None is standard output.
    output: Path | None
    html: Path | None
    # The Redis server for --publish.
    publish: RedisAccess | None
    # The report to show, rather than to measure.
    read: Path | None
    compare: Path | None
    fail: Sequence[Condition]
    margin: float
    fail_below: float | None
    strict: bool
    settings: WorkerSettings

    @property
    def log_level(self) -> LogLevel:
        """Errors only, unless LOG_LEVEL is set: broken streams are part of the report."""
        return self.settings.log_level if self.settings.is_set("log_level") else LogLevel.ERROR

    @property
    def prints_table(self) -> bool:
        """Whether the table goes to standard output, because nothing else does."""
        if STANDARD_OUTPUT in {self.output, self.html}:
            return False
        return self.output is not None or self.format is Format.TABLE


def parse(arguments: Sequence[str]) -> Options:
    """Return the options that the arguments and the environment give.

    Raises SettingsError for a variable or a target; for other arguments, as for --help, SystemExit after a message.
    """
    parser = _parser()
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    if given["fail_below"] is not None and given["compare"] is None:
        parser.error("--fail-below needs an earlier report to --compare with")
    if given["strict"] and given["fail_below"] is None:
        parser.error("--strict needs --fail-below")
    report_to_output = given["output"] == STANDARD_OUTPUT or (given["output"] is None and given["format"])
    if given["html"] == STANDARD_OUTPUT and report_to_output:
        parser.error("--html - and another report can't both go to standard output")
    named = {name: target for name in SERVICES if (target := given.pop(f"{name}_target"))}
    url = {"redis_url": given["publish"]} if given["publish"] else {}
    worker = WorkerSettings.load(pace=Pace.FULL, **{f"{name}_target": named[name] for name in named}, **url)
    ending = given["output"].suffix if given["output"] else ""
    given.update(
        windows=given["windows"] or (worker.window_size or WINDOW_SIZE,),
        message_sizes=given["message_sizes"] or (worker.message_size,),
        duration=given["duration"] or (DURATION_S if given["requests"] is None else math.inf),
        targets={
            name: getattr(worker, f"{name}_target")
            for name in SERVICES
            if name in named or worker.is_set(f"{name}_target")
        },
        format=given["format"] or FORMATS_BY_ENDING.get(ending, Format.TABLE),
        publish=None if given["publish"] is None else worker.redis,
        settings=worker,
    )
    return Options(**given)


Type = Callable[[str], Any]


def argument(field: Field) -> Type:
    """Return a type of arguments that accepts what this field of settings reads, and whose error says what that is."""

    def convert(text: str) -> object:
        try:
            return field.read(text.strip())
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be {field.allowed}") from None

    return convert


def whole(minimum: int, maximum: int, unit: str) -> Type:
    """Accept a whole number."""
    return argument(settings.whole(None, minimum, maximum, unit, ""))


def number(minimum: float, maximum: float, unit: str = "seconds") -> Type:
    """Accept a finite number."""
    return argument(settings.number(None, minimum, maximum, unit, ""))


def listed(convert: Type) -> Type:
    """Accept values with commas between them; repeated values count once."""
    return lambda text: tuple(dict.fromkeys(convert(each) for each in text.split(",")))


def setting(name: str, unit: str) -> Type:
    """Accept a list of whole numbers that this setting of the worker allows."""
    minimum, maximum = map(int, WorkerSettings.fields[name].bounds)
    return listed(whole(minimum, maximum, unit))


def _custom(read: Callable[[str], object], allowed: str) -> Type:
    return argument(settings.field(None, read, allowed, ""))


def _duration(minimum: float, maximum: float) -> Type:
    units = {"ms": 1e-3, "s": 1.0, "m": 60.0}

    def read(text: str) -> float:
        matched = re.fullmatch(r"(.+?)(ms|s|m)", text)
        value = float(matched[1]) * units[matched[2]] if matched else float(text)
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    return _custom(read, f"from {minimum:g} to {maximum:g} seconds, such as 10, 10s or 2m")


class _HelpFormatter(argparse.HelpFormatter):
    """Fills the paragraphs of a description, and leaves those that are indented as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(each if each.startswith(" ") else fill(each, width, indent) for each in paragraphs)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {metadata.version('dockercoins-grpc')}")
    batch_sizes = listed(whole(1, MAX_BATCH_MESSAGES, "messages per batch"))
    windows = setting("window_size", "batches in flight")
    message_sizes = setting("message_size", "bytes per message")
    modes = listed(argument(settings.one_of(Mode.STREAM, "")))
    format_ = argument(settings.one_of(Format.TABLE, ""))
    rate, rps = _custom(Rate.parse, RATE), _custom(Rate.parse_batches, RATE)
    condition = _custom(Condition.parse, ALLOWED)
    part, margin = number(0, 1_000, "0.9 is nine tenths"), number(0, 0.5, "0.05 is 5 %")

    add = parser.add_argument_group(VARIED).add_argument
    add("--batch-sizes", metavar="LIST", type=batch_sizes, default=BATCH_SIZES, help="messages per batch; powers of 4")
    add("-c", "--windows", metavar="LIST", type=windows, help="batches in flight; 8")
    add("--message-sizes", metavar="LIST", type=message_sizes, help="bytes per message; 32")
    add("--modes", metavar="LIST", type=modes, default=[Mode.STREAM], help="stream, uncoalesced or unary; stream")

    measured = parser.add_argument_group("how it is measured (and the default)")
    add = measured.add_argument
    limits = measured.add_mutually_exclusive_group()
    limits.add_argument(
        "-z", "-d", "--duration", metavar="TIME", type=_duration(0.1, 3_600), help="of each run, such as 10s; 3s"
    )
    limits.add_argument("-n", "--requests", metavar="N", type=whole(1, 10**9, "batches"), help="batches of each run")
    add("--warm-up", metavar="TIME", type=_duration(0, 600), default=1.0, help="before each run; 1s")
    add("--repeat", metavar="RUNS", type=whole(1, 1_000, "runs"), default=3, help="of each point, in alternation; 3")
    rates = measured.add_mutually_exclusive_group()
    rates.add_argument("--rate", metavar="RATE", type=rate, help="hashes/s to send, see below; as fast as possible")
    rates.add_argument("--rps", metavar="RATE", dest="rate", type=rps, help="the same in batches per second")
    add("--rng-target", metavar="TARGET", help="a running rng, such as dns:///rng:50051 or ipv4:127.0.0.1:50051")
    add("--hasher-target", metavar="TARGET", help="a running hasher")

    add = parser.add_argument_group("what is reported").add_argument
    add("--format", metavar="FORMAT", type=format_, help="table, json, csv or markdown; or by FILE's ending")
    add("--output", metavar="FILE", type=Path, help="where to write the report, beside the table on standard output")
    add("--html", metavar="FILE", type=Path, help="a page with curves and tables, in one file")
    add("--publish", metavar="REDIS_URL", nargs="?", const="", help="keep the report in Redis, for webui's page")
    add("--read", metavar="FILE", type=Path, help="report what is in this file, in JSON, and measure nothing")
    add("--compare", metavar="FILE", type=Path, help="an earlier report in JSON to compare with")
    add(
        "--fail",
        metavar="CONDITION",
        type=condition,
        action="append",
        default=[],
        help="fail unless p99<50ms; repeatable",
    )
    add("--margin", metavar="PART", type=margin, default=0.05, help="a change up to this part is none; 0.05")
    add("--fail-below", metavar="RATIO", type=part, help="with --compare: fail where the speed is below this part")
    add("--strict", action="store_true", help="with --fail-below: fail where that is inconclusive, too")
    return parser
