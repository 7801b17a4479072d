"""`pyserve predict`: run a model on a server that is there already."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pyserve.cli import remote
from pyserve.errors import ServingError
from pyserve.tools.remote import connect, output_rows, prediction_json, read_input


def run(program: str, arguments: Sequence[str]) -> int:
    """Run `pyserve predict` with its arguments; the result is the process's exit code."""
    options = _parser(program).parse_args(arguments)
    return remote.exit_code(program, lambda: _predict(options))


def _parser(program: str) -> argparse.ArgumentParser:
    parser = remote.parser(program, "Ask a server to run a model, and print the outputs.", timeout_s=60.0)
    parser.add_argument("model", metavar="MODEL", help="its name")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="ALIAS=VALUE",
        help="JSON such as x=[1.0,2.0], or @FILE: .npy for an array, .json, any other for its bytes as one string",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="NUMBER", help="ask this version")
    which.add_argument("--label", metavar="NAME", help="ask the version with this label")
    parser.add_argument("--signature", default="", metavar="KEY", help="default: serving_default")
    parser.add_argument(
        "--output",
        action="append",
        default=[],
        metavar="ALIAS",
        help="print only this output; may be repeated",
    )
    return parser


def _predict(options: argparse.Namespace) -> int:
    try:
        inputs = dict(read_input(text) for text in options.input)
        if len(inputs) < len(options.input):
            raise remote.UsageError("an input is given twice")
        client = connect(options.address, options.timeout_s)
    except ServingError as error:
        raise remote.usage(error) from None
    with client:
        prediction = client.predict(
            options.model,
            inputs,
            version=options.version,
            label=options.label,
            signature=options.signature,
            output_filter=options.output,
        )
    if options.json:
        print(prediction_json(options.model, prediction))
    else:
        remote.print_table(("output", "dtype", "shape", "values"), output_rows(prediction))
    return remote.EXIT_OK
