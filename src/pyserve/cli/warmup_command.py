"""`pyserve warmup`: make and check the file of requests that a version replays while it loads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyserve.config import TensorFlowOptions
from pyserve.errors import AlreadyExistsError, ServingError, file_error
from pyserve.inference.warmup_file import PATH_IN_VERSION
from pyserve.tools import warmup
from pyserve.tools.model_directory import version_directory

EXIT_OK = 0
EXIT_PROBLEM = 1


def run(program: str, arguments: Sequence[str]) -> int:
    """Run `pyserve warmup` with its arguments; the result is the process's exit code."""
    options = _parser(program).parse_args(arguments)
    try:
        code: int = options.action(options)
    except OSError as error:
        return _failed(program, file_error(error))
    except ServingError as error:
        return _failed(program, error)
    return code


def _failed(program: str, error: ServingError) -> int:
    print(f"{program}: {error}", file=sys.stderr)
    return EXIT_PROBLEM


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program,
        allow_abbrev=False,
        description="A version whose directory has the file "
        f"{PATH_IN_VERSION} runs the requests in it before it becomes available: its first callers do not wait.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    make = actions.add_parser(
        "make",
        help="write the file, from JSON requests",
        description="Write a version's warm-up file.",
        allow_abbrev=False,
    )
    make.set_defaults(action=_make)
    _add_model(make)
    make.add_argument(
        "--request",
        required=True,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="bodies of REST predict requests: one in a file, or one on each line; - reads standard input",
    )
    make.add_argument("--signature", default="", metavar="NAME", help="for requests without a signature_name")
    make.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write, instead of into the version"
    )
    make.add_argument("--force", action="store_true", help="replace the file if it is there")

    check = actions.add_parser(
        "check",
        help="examine the file",
        description="Examine a version's warm-up file as the server would: its format, its limits, and whether each "
        "request fits the model's signatures. TensorFlow is needed only with --run.",
        allow_abbrev=False,
    )
    check.set_defaults(action=_check)
    _add_model(check)
    check.add_argument("--run", action="store_true", help="load the model and replay the requests too")
    check.add_argument(
        "--prefer_tflite_model", action="store_true", help="with --run: load model.tflite where it is present"
    )
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a version's directory or file, or a model's, whose newest version counts",
    )
    parser.add_argument(
        "--saved_model_tags",
        default="serve",
        metavar="TAGS",
        help="of the MetaGraph, comma-separated (default: serve)",
    )


def _tags(options: argparse.Namespace) -> frozenset[str]:
    return frozenset(tag for tag in options.saved_model_tags.split(",") if tag)


def _make(options: argparse.Namespace) -> int:
    version = version_directory(options.model)
    output: Path = options.output or version / PATH_IN_VERSION
    if output.exists() and not options.force:
        raise AlreadyExistsError(f"{output} is there already; --force replaces it")
    bodies = warmup.read_bodies(options.request)
    records = warmup.make(version, bodies, _tags(options), options.signature)
    size = warmup.write(output, records)
    print(f"{output}: {_count(len(records), 'record')}, {_count(size, 'byte')}")
    return EXIT_OK


def _check(options: argparse.Namespace) -> int:
    version = version_directory(options.model)
    report = warmup.check(version, _tags(options))
    print(f"{report.file}: {_count(report.records, 'record')}, {_count(report.size, 'byte')}")
    for request, number in sorted(report.requests.items()):
        print(f"  {number} x {request}")
    for note in report.notes:
        print(f"note: {note}")
    for problem in report.problems:
        print(f"problem: {problem}")
    if report.problems:
        return EXIT_PROBLEM
    if options.run:
        seconds = warmup.run(
            version,
            TensorFlowOptions(saved_model_tags=_tags(options)),
            prefer_tflite=options.prefer_tflite_model,
        )
        print(f"replayed in {seconds:.3f} s")
    print("OK")
    return EXIT_OK


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
