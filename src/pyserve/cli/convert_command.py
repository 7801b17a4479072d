"""`pyserve convert`: a version to serve, out of what a model was saved as."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pyserve.cli import remote
from pyserve.cli.inspect_command import show_version
from pyserve.servable import DEFAULT_SIGNATURE
from pyserve.tools.convert.edits import Edits, Renaming
from pyserve.tools.convert.graph_signature import NamesNeededError
from pyserve.tools.convert.image_signature import METHODS, ImageSignature
from pyserve.tools.convert.pipeline import Conversion, convert
from pyserve.tools.convert.source import Source
from pyserve.tools.warmup import read_bodies

_EXIT_CODES = (
    "Exit codes: 0 done; 1 failed, and nothing was written; 2 wrong usage, or names of tensors are needed, which are "
    "then listed."
)


def run(program: str, arguments: Sequence[str]) -> int:
    """Run `pyserve convert` with its arguments; the result is the process's exit code."""
    options = _parser(program).parse_args(arguments)
    return remote.exit_code(program, lambda: _convert(options))


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        program,
        description="Make a version that can be served, run it, and put it into a model's directory, whole. Needs "
        "TensorFlow.",
        epilog=_EXIT_CODES,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a SavedModel, a .keras or .h5 file, a frozen graph (.pb), or a checkpoint",
    )
    parser.add_argument(
        "target", type=Path, metavar="MODEL", help="the model's directory, which holds its versions"
    )
    parser.add_argument("--version", type=_positive, metavar="N", help="its number (default: the next one)")
    parser.add_argument("--json", action="store_true", help="print the new version as `inspect --json` does")
    parser.add_argument("--no_calls", action="store_true", help="print it without the calls")
    parser.add_argument(
        "--request",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="bodies of REST predict requests: they are run, and become the version's warm-up file",
    )
    _add_source(parser.add_argument_group("what the source does not say itself"))
    _add_edits(parser.add_argument_group("signatures and tags, changed in this order"))
    _add_images(parser.add_argument_group("a signature that takes encoded images"))
    return parser


_Group = argparse._ArgumentGroup


def _add_source(group: _Group) -> None:
    group.add_argument(
        "--saved_model_tags", default="serve", metavar="TAGS", help="of its MetaGraph (default: serve)"
    )
    for role in ("input", "output"):
        group.add_argument(
            f"--{role}",
            action="append",
            default=[],
            type=_tensor,
            metavar="[ALIAS=]TENSOR",
            help=f"an {role} of a graph without signatures",
        )
    group.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module of yours first, which registers layers for Keras",
    )
    group.add_argument(
        "--meta_graph",
        type=Path,
        metavar="PATH",
        help="of a checkpoint: its .meta file where that is not beside it, or a SavedModel of the same model",
    )


def _add_edits(group: _Group) -> None:
    group.add_argument(
        "--keep_signature", action="append", default=[], metavar="NAME", help="leave the others out"
    )
    group.add_argument("--rename_signature", action="append", default=[], type=_pair, metavar="OLD=NEW")
    for role in ("input", "output"):
        group.add_argument(
            f"--rename_{role}",
            action="append",
            default=[],
            type=_renaming,
            metavar="[SIGNATURE:]OLD=NEW",
            help="in every signature that has it, or in one",
        )
    group.add_argument("--tags", default="", metavar="TAGS", help="new ones, comma-separated")
    group.add_argument(
        "--default_signature", default="", metavar="NAME", help=f"what {DEFAULT_SIGNATURE} is to be"
    )


def _add_images(group: _Group) -> None:
    of = ImageSignature("")
    group.add_argument("--image_signature", default="", metavar="NAME", help="add one under this name")
    group.add_argument(
        "--image_of",
        default=of.of,
        metavar="NAME",
        help="the signature that takes pixels (default: %(default)s)",
    )
    group.add_argument(
        "--image_input", default="", metavar="ALIAS", help="its input (default: the one with four dimensions)"
    )
    group.add_argument(
        "--image_alias", default=of.alias, metavar="ALIAS", help="of the images (default: %(default)s)"
    )
    group.add_argument("--image_size", type=_size, metavar="HxW", help="in pixels (default: as declared)")
    group.add_argument("--image_resize", choices=METHODS, default=of.method, help="(default: %(default)s)")
    group.add_argument("--image_mean", type=_numbers, default=of.mean, metavar="M[,M,M]", help="(default: 0)")
    group.add_argument(
        "--image_std",
        type=_numbers,
        default=of.std,
        metavar="S[,S,S]",
        help="a pixel of 0 to 255 becomes (pixel - M) / S (default: 255)",
    )
    group.add_argument(
        "--image_channels_first", action="store_true", help="the model takes [rows, channels, height, width]"
    )


def _convert(options: argparse.Namespace) -> int:
    wanted = Conversion(
        source=Source(
            path=options.source,
            tags=_tags(options.saved_model_tags),
            inputs=_unique("--input", options.input),
            outputs=_unique("--output", options.output),
            meta_graph=options.meta_graph,
            modules=tuple(options.modules),
        ),
        target=options.target,
        version=options.version,
        edits=Edits(
            keep=tuple(options.keep_signature),
            rename=_unique("--rename_signature", options.rename_signature),
            inputs=tuple(options.rename_input),
            outputs=tuple(options.rename_output),
            tags=_tags(options.tags),
        ),
        images=_images(options),
        default=options.default_signature,
        requests=read_bodies(options.request),
    )
    try:
        made = convert(wanted)
    except NamesNeededError as error:
        raise remote.usage(error) from None
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    show_version(
        made.path, wanted.edits.tags or wanted.source.tags, as_json=options.json, calls=not options.no_calls
    )
    return remote.EXIT_OK


def _images(options: argparse.Namespace) -> ImageSignature | None:
    if not options.image_signature:
        return None
    return ImageSignature(
        key=options.image_signature,
        of=options.image_of,
        input=options.image_input,
        alias=options.image_alias,
        size=options.image_size,
        channels_first=options.image_channels_first,
        method=options.image_resize,
        mean=options.image_mean,
        std=options.image_std,
    )


# --- forms of values ---------------------------------------------------------------------------------------------

V = TypeVar("V")


def _tags(text: str) -> tuple[str, ...]:
    return tuple(tag for tag in text.split(",") if tag)


def _unique(flag: str, pairs: Sequence[tuple[str, V]]) -> dict[str, V]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise remote.UsageError(f"{flag} names something twice")
    return found


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is no version number, expected 1 or more")
    return number


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not old or not new or not equals:
        raise argparse.ArgumentTypeError(f"{text}: expected OLD=NEW")
    return old, new


def _renaming(text: str) -> Renaming:
    old, new = _pair(text)
    signature, _, alias = old.rpartition(":")
    return Renaming(signature, alias, new)


def _tensor(text: str) -> tuple[str, str]:
    alias, equals, name = text.partition("=")
    if not equals:
        alias, name = text.removesuffix(":0"), text
    if not alias or not name:
        raise argparse.ArgumentTypeError(f"{text}: expected TENSOR or ALIAS=TENSOR")
    return alias, name


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text}: expected HEIGHTxWIDTH, e.g. 224x224")
    return int(height), int(width)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected numbers, with commas between them") from None
