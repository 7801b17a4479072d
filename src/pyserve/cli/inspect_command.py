"""`pyserve inspect`: what a model is, and how to call it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pyserve.cli import remote
from pyserve.errors import NotFoundError, ServingError
from pyserve.servable import Signature
from pyserve.tools.inspect import page
from pyserve.tools.inspect.calls import Calls, Target, calls_for
from pyserve.tools.inspect.inspection import Inspection
from pyserve.tools.inspect.server import inspect_server, is_address, split_url
from pyserve.tools.inspect.version_files import inspect_path

_WAYS = (
    ("curl", "curl", "bash"),
    ("tensorflow-serving-api", "tensorflow_serving_api", "python"),
    ("pyserve.client", "pyserve_client", "python"),
)
"""(name, field of Calls, language) of each way to call."""


_LOCAL = Target("localhost:8500", "http://localhost:8501", "")
"""Where a server listens by default, in the documentation of TensorFlow Serving too."""


def run(program: str, arguments: Sequence[str]) -> int:
    """Run `pyserve inspect` with its arguments; the result is the process's exit code."""
    options = _parser(program).parse_args(arguments)
    return remote.exit_code(program, lambda: _inspect(options))


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program,
        description="Show a model's signatures, and for each the calls to paste: curl, tensorflow-serving-api, "
        "pyserve.client. TensorFlow is not needed.",
        epilog=remote.EXIT_CODES,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        metavar="PATH|ADDRESS",
        help="a version's directory or file, or a model's, whose newest version counts; or a server: host:port or "
        "unix:PATH for gRPC, http://host:port for REST, which may go on /v1/models/MODEL[/versions/N]",
    )
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default="", help="the model's name on the server"
    )
    parser.add_argument(
        "--version", type=int, metavar="N", help="of the model on the server (default: the newest)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--signature", default="", metavar="NAME", help="show this signature only")
    parser.add_argument("--no_calls", action="store_true", help="leave out the calls")
    parser.add_argument(
        "--saved_model_tags",
        default="",
        metavar="TAGS",
        help="of the MetaGraph, comma-separated (default: serve)",
    )
    parser.add_argument("--grpc_address", default="", metavar="HOST:PORT", help="where calls go by gRPC")
    parser.add_argument("--http_url", default="", metavar="URL", help="where calls go by REST")
    parser.add_argument("--timeout_s", type=float, default=10.0, metavar="SECONDS", help="limit of each call")
    return parser


def _inspect(options: argparse.Namespace) -> int:
    found, target = _find(options)
    if options.signature:
        found = replace(found, signatures={options.signature: _only(found, options.signature)})
    target = replace(
        target,
        grpc_address=options.grpc_address or target.grpc_address,
        http_url=options.http_url.rstrip("/") or target.http_url,
    )
    _show(found, target, as_json=options.json, calls=not options.no_calls)
    return remote.EXIT_OK


def show_version(version: Path, tags: Sequence[str], *, as_json: bool, calls: bool) -> None:
    """Print a version directory as `pyserve inspect` does."""
    found = inspect_path(version, tags)
    _show(found, replace(_LOCAL, model=found.model), as_json=as_json, calls=calls)


def _show(found: Inspection, target: Target, *, as_json: bool, calls: bool) -> None:
    shown = _calls(found, target) if calls else {}
    if as_json:
        print(page.as_json(found, shown))
    else:
        show(found, shown)


def _find(options: argparse.Namespace) -> tuple[Inspection, Target]:
    target = _LOCAL
    if Path(options.source).exists() or not is_address(options.source):
        if options.model or options.version is not None:
            raise remote.UsageError("MODEL and --version are for a server; a path says both")
        tags = [tag for tag in options.saved_model_tags.split(",") if tag]
        found = inspect_path(Path(options.source), tags)
        return found, replace(target, model=found.model)
    try:
        address, model, version = split_url(options.source)
    except ServingError as error:
        raise remote.usage(error) from None
    asked = version if options.version is None else options.version
    found = inspect_server(address, options.model or model, asked, options.timeout_s)
    where = {"http_url": address} if address.startswith("http") else {"grpc_address": address}
    return found, replace(target, model=found.model, version=asked, **where)


def _only(found: Inspection, key: str) -> Signature:
    if key not in found.signatures:
        there = ", ".join(found.signatures) or "none"
        raise NotFoundError(f'there is no signature "{key}"; the model has {there}')
    return found.signatures[key]


def _calls(found: Inspection, target: Target) -> dict[str, Calls]:
    features = () if found.files is None else found.files.features
    refused = {} if found.files is None else found.files.refused
    return {
        key: calls_for(target, signature, features)
        for key, signature in found.signatures.items()
        if key not in refused
    }


def show(found: Inspection, calls: Mapping[str, Calls]) -> None:
    """Print an inspection: with colours and tables on a terminal, as plain lines elsewhere."""
    if sys.stdout.isatty():
        _show_pretty(found, calls)
        return
    print(found.source)
    for name, text in page.facts(found):
        print(f"  {name:<10}  {text}")
    for key, signature in found.signatures.items():
        print(f"\n{_title(found, key, signature)}")
        rows = page.tensor_rows(signature)
        widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            print("  " + "  ".join([*cells, row[3]]))
        for name, field, _ in _WAYS if key in calls else ():
            print(f"\n# {key}: {name}\n{getattr(calls[key], field)}")


def _title(found: Inspection, key: str, signature: Signature) -> str:
    refused = found.files.refused.get(key) if found.files is not None else None
    return f"{key}  {signature.method_name or '(no method name)'}" + (
        f"\n  refused: {refused}" if refused else ""
    )


def _show_pretty(found: Inspection, calls: Mapping[str, Calls]) -> None:
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.text import Text

    console = Console()
    console.print(Text(found.source, "bold"))
    for name, text in page.facts(found):
        console.print(Text.assemble((f"  {name:<10}  ", "dim"), text))
    for key, signature in found.signatures.items():
        console.print(Text.assemble("\n", (_title(found, key, signature), "bold")))
        console.print(remote.table(("", "alias", "dtype", "shape"), page.tensor_rows(signature)))
        for name, field, language in _WAYS if key in calls else ():
            console.print(Text(f"# {key}: {name}", "dim"))
            # Highlighted text, no block: a block would be padded, and broken into lines where it is copied from.
            code = Syntax("", language, background_color="default").highlight(getattr(calls[key], field))
            console.print(code, soft_wrap=True)
