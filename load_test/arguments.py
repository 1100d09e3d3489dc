"""The command line of the load test."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from chassis.limits import MAX_BATCH_MESSAGES
from chassis.settings import LogLevel, Pace
from load_test.argument_types import part, rate, seconds, setting, whole, wholes, word, words
from load_test.destination import STANDARD_OUTPUT
from load_test.options import Options
from load_test.point import Mode
from load_test.report_format import Format
from worker_svc.settings import WorkerSettings

PROGRAM = "load-test"

BATCH_SIZES = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536)

WINDOW = 8
"""Batches in flight where the worker is not told how many."""

DESCRIPTION = """\
Measures the worker's own pipeline, from random bytes to digests, at many batch sizes: hashes/s, latency, CPU time.
It asks the rng and hasher that are named, or starts those that are not, on this machine at full pace.
"""

EPILOG = """\
rate schedules (hashes/s, over the duration of a run; the warm-up goes at the rate of the beginning):
  --rate 10000              constant
  --rate 1000,5000,20000    steps of equal length
  --rate 1000..50000        a line from one to the other; steps may be lines, too
With a rate, batches are sent when they are due and latency runs from that moment, so a server that stalls shows in
p99 as whoever waits would feel it. Without one, a batch is sent for each that is done.

A service at LOG_LEVEL=info logs each call, and holds it 5 ms for that: unary is compared fairly with services at
LOG_LEVEL=warning, as those are that are started here.

--compare judges by Welch's t-test on the logarithms of the runs' speeds: "faster" and "slower" are said when the 95 %
interval of the ratio leaves out 1, and --fail-below fails when all of the interval is below it. With a single run on
either side there is no interval, and the ratio itself decides. More runs (--repeat) make the interval narrower.

--publish keeps the report in Redis, where the page of webui shows the last five; without a URL, in that of REDIS_URL.

The variables RNG_TARGET, HASHER_TARGET, WINDOW_SIZE, MESSAGE_SIZE, MAX_ENDPOINTS, INSTANCE and LOG_LEVEL apply as they
do to a worker, and TLS_CERT, TLS_KEY and TLS_CA where a target is named; with --publish REDIS_PASSWORD_FILE,
too. FILE may be - for standard output. Ctrl-C ends the measuring and reports what there is.

exit codes: 0 measured; 1 a service failed, a report can't be written or published, or slower than --fail-below; 2 what
was asked for is not allowed; 130 interrupted.
"""

_ENDINGS = {".json": Format.JSON, ".csv": Format.CSV, ".md": Format.MARKDOWN}


def parse(line: Sequence[str]) -> Options:
    """What these words and the environment ask for.

    Raises SettingsError for a variable or a target; for other words, as for --help, SystemExit, and it has said why.
    """
    parser = _parser()
    given = parser.parse_args(line)
    if given.fail_below is not None and given.compare is None:
        parser.error("--fail-below needs an earlier report to --compare with")
    targets = {f"{name}_target": target for name in ("rng", "hasher") if (target := getattr(given, f"{name}_target"))}
    report_to_output = given.output == STANDARD_OUTPUT or (given.output is None and given.format)
    if given.html == STANDARD_OUTPUT and report_to_output:
        parser.error("--html - and another report can't both go to standard output")
    url = {"redis_url": given.publish} if given.publish else {}
    settings = WorkerSettings.load(pace=Pace.FULL, **targets, **url)
    return Options(
        batch_sizes=given.batch_sizes,
        windows=given.windows or (settings.window_size or WINDOW,),
        message_sizes=given.message_sizes or (settings.message_size,),
        modes=given.modes,
        duration=given.duration,
        warm_up=given.warm_up,
        repeat=given.repeat,
        rate=given.rate,
        targets={
            name: getattr(settings, field)
            for name, field in (("rng", "rng_target"), ("hasher", "hasher_target"))
            if field in targets or settings.is_set(field)
        },
        tls=settings.tls,
        max_endpoints=settings.max_endpoints,
        client_id=f"{settings.instance}-load-test",
        format=given.format or _ENDINGS.get(given.output.suffix if given.output else "", Format.TABLE),
        output=given.output,
        html=given.html,
        publish=None if given.publish is None else settings.redis,
        compare=given.compare,
        fail_below=given.fail_below,
        # Streams that break are in the report; whoever wants their lines as well asks for them.
        log_level=settings.log_level if settings.is_set("log_level") else LogLevel.ERROR,
        log_format=settings.log_format,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    sweep = parser.add_argument_group(
        "what is varied (lists such as 1,4,16, and the default; every combination is a point)"
    )
    add = sweep.add_argument
    add(
        "--batch-sizes",
        metavar="LIST",
        type=wholes(1, MAX_BATCH_MESSAGES, "messages a batch"),
        default=BATCH_SIZES,
        help="messages a batch; the powers of 4 from 1 to 65536",
    )
    add("--windows", metavar="LIST", type=setting("window_size", "batches in flight"), help="batches in flight; 8")
    add("--message-sizes", metavar="LIST", type=setting("message_size", "bytes a message"), help="bytes a message; 32")
    add(
        "--modes",
        metavar="LIST",
        type=words(Mode),
        default=(Mode.STREAM,),
        help="stream, or unary: a call for each step of a batch; stream",
    )
    run = parser.add_argument_group("how it is measured (and the default)")
    add = run.add_argument
    add("--duration", metavar="SECONDS", type=seconds(0.1, 3_600), default=3.0, help="of each run; 3")
    add("--warm-up", metavar="SECONDS", type=seconds(0, 600), default=1.0, help="before each run; 1")
    add(
        "--repeat",
        metavar="RUNS",
        type=whole(1, 1_000),
        default=3,
        help="runs of each point, the points taking turns; 3",
    )
    add("--rate", metavar="RATE", type=rate, help="hashes/s to send, see below; as fast as possible without it")
    add(
        "--rng-target", metavar="TARGET", help="a running rng, as gRPC names it: dns:///rng:50051, ipv4:127.0.0.1:50051"
    )
    add("--hasher-target", metavar="TARGET", help="a running hasher")
    output = parser.add_argument_group("what is said of it")
    add = output.add_argument
    add(
        "--format",
        metavar="FORMAT",
        type=word(Format),
        help="table, json, csv or markdown: of standard output, or of --output, whose ending decides otherwise",
    )
    add("--output", metavar="FILE", type=Path, help="where to write the report, beside the table on standard output")
    add("--html", metavar="FILE", type=Path, help="a page with curves and tables, in one file")
    add(
        "--publish",
        metavar="REDIS_URL",
        nargs="?",
        const="",
        help="keep the report in Redis, for the page; in that of the variable REDIS_URL if no other is named",
    )
    add("--compare", metavar="FILE", type=Path, help="an earlier report in JSON: say what changed")
    add(
        "--fail-below",
        metavar="RATIO",
        type=part,
        help="with --compare: exit code 1 where the speed is below this part of the earlier",
    )
    return parser
