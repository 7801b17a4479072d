"""`pyserve reload`: give a running server another list of models."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from pyserve.cli import remote
from pyserve.client import RestClient
from pyserve.codec.text_file import parse_file, read_text
from pyserve.errors import ServingError
from pyserve.protos import tfs
from pyserve.tools.remote import connect


def run(program: str, arguments: Sequence[str]) -> int:
    """Run `pyserve reload` with its arguments; the result is the process's exit code."""
    options = _parser(program).parse_args(arguments)
    return remote.exit_code(program, lambda: _reload(options))


def _parser(program: str) -> argparse.ArgumentParser:
    parser = remote.parser(
        program,
        "Give a server a new list of models, in the form of --model_config_file, and wait until they are available or "
        "have failed. The list replaces the old one whole. Over gRPC only.",
        timeout_s=600.0,
    )
    parser.add_argument(
        "config", metavar="FILE", help="text format of ModelServerConfig; - reads standard input"
    )
    return parser


def _reload(options: argparse.Namespace) -> int:
    try:
        text = sys.stdin.read() if options.config == "-" else read_text(options.config)
        config = parse_file(text, options.config, tfs.ModelServerConfig())
        client = connect(options.address, options.timeout_s)
    except ServingError as error:
        raise remote.usage(error) from None
    if isinstance(client, RestClient):
        raise remote.UsageError("a reload needs the gRPC address, host:port")
    with client:
        client.reload(config, timeout_s=options.timeout_s)
    models = [model.name for model in config.model_config_list.config]
    print(json.dumps({"models": models}) if options.json else f"reloaded: {' '.join(models) or 'no models'}")
    return remote.EXIT_OK
