"""TensorFlow Serving's flag syntax, pure: a table of flags and an argument list in, values out.

`--name=value` as in TensorFlow's parser, and `--name value` too, which that parser does not take. An unknown
argument is an error here, where the C++ server prints the usage and starts all the same.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Value = int | float | bool | str


class Kind(enum.Enum):
    """A flag's type, named as the usage text names it."""

    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    STRING = "string"
    FLOAT = "float"


class State(enum.Enum):
    """What pyserve does with a flag."""

    IMPLEMENTED = "implemented"
    ACCEPTED = "accepted"  # without effect and without a word: it has no meaning in pyserve, and does no harm
    WARNED = "ignored with a warning"  # when it is set away from its default
    REFUSED = "refused"  # when it is set away from its default


@dataclass(frozen=True, slots=True)
class Flag:
    """One row of the table.

    Attributes:
        name: Without dashes.
        kind: Its type.
        default: Value when not given.
        help: What it does, for the usage text.
        state: What pyserve does with it.
        why: For a flag that is not implemented, the reason; shown to the user.
        own: True for flags that TensorFlow Serving does not have.
    """

    name: str
    kind: Kind
    default: Value
    help: str
    state: State = State.IMPLEMENTED
    why: str = ""
    own: bool = False


class FlagValueError(ValueError):
    """A value that its flag cannot take; TensorFlow Serving exits with 255 on these."""


class UnknownArgumentError(ValueError):
    """An argument that no flag takes; the text names the nearest flag. `values` are those of the other arguments."""

    def __init__(self, message: str, values: Mapping[str, Value]) -> None:
        super().__init__(message)
        self.values = values


_INT_RANGE = {Kind.INT32: (-(2**31), 2**31 - 1), Kind.INT64: (-(2**63), 2**63 - 1)}
_INTEGER = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)
_FLOAT = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|\s*[+-]?(inf|nan)", re.ASCII)


def parse_value(flag: Flag, text: str) -> Value:
    """A flag's value from its text.

    Raises:
        FlagValueError: The text is not of the flag's type, or out of its range.
    """
    if flag.kind is Kind.STRING:
        return text
    if flag.kind is Kind.BOOL and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if flag.kind in _INT_RANGE and _INTEGER.fullmatch(text) and len(text) < 30:
        low, high = _INT_RANGE[flag.kind]
        if low <= int(text) <= high:
            return int(text)
    if flag.kind is Kind.FLOAT and _FLOAT.fullmatch(text):
        return float(text)
    raise FlagValueError(f"Couldn't interpret value {text} for flag {flag.name}.")


def parse(arguments: Sequence[str], table: Sequence[Flag]) -> dict[str, Value]:
    """Values of the flags that were given; the last of several wins.

    Raises:
        FlagValueError: A value does not fit its flag. Every argument is looked at first, and each is named.
        UnknownArgumentError: An argument is no flag. A wrong value is reported before it.
    """
    by_name = {flag.name: flag for flag in table}
    values: dict[str, Value] = {}
    wrong: list[str] = []
    unknown: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        name, equals, text = argument.removeprefix("--").partition("=")
        flag = by_name.get(name) if argument.startswith("--") else None
        if flag is None:
            unknown.append(argument)
            continue
        if not equals:
            if flag.kind is Kind.BOOL:
                text = "true"
            elif position < len(arguments) and not arguments[position].startswith("--"):
                text = arguments[position]
                argument += " " + text
                position += 1
            else:
                wrong.append(f"Couldn't interpret value {argument} for flag {flag.name}.")
                continue
        try:
            values[name] = parse_value(flag, text)
        except FlagValueError:
            wrong.append(f"Couldn't interpret value {argument} for flag {flag.name}.")
    if wrong:
        raise FlagValueError("\n".join(wrong))
    if unknown:
        raise UnknownArgumentError(_unknown(unknown[0], by_name), values)
    return values


def _unknown(argument: str, by_name: Mapping[str, Flag]) -> str:
    name, equals, value = argument.lstrip("-").partition("=")
    shown = argument if len(argument) <= 100 else argument[:100] + "..."
    text = f"unknown argument: {shown}"
    near = difflib.get_close_matches(name, by_name, n=1)
    if near:
        text += f"\nDid you mean --{near[0]}{equals}{value[:100]}?"
    return text


def set_away_from_default(values: Mapping[str, Value], table: Sequence[Flag], state: State) -> list[Flag]:
    """The flags of a state that were given another value than their default, in the table's order."""
    return [
        flag for flag in table if flag.state is state and values.get(flag.name, flag.default) != flag.default
    ]


def usage(program: str, table: Sequence[Flag]) -> str:
    """The usage text in TensorFlow's format; pyserve's own flags stand apart."""
    lines = [f"usage: {program}", "Flags:"]
    lines += [_usage_line(flag) for flag in table if not flag.own]
    lines.append("pyserve's own flags:")
    lines += [_usage_line(flag) for flag in table if flag.own]
    return "\n".join(lines) + "\n"


def _usage_line(flag: Flag) -> str:
    match flag.default:
        case bool():
            default = "true" if flag.default else "false"
        case str():
            default = f'"{flag.default}"'
        case float():
            default = f"{flag.default:f}"
        case _:
            default = str(flag.default)
    text = flag.help if flag.state is State.IMPLEMENTED else f"{flag.help} [{flag.state.value}: {flag.why}]"
    head = f"--{flag.name}={default}"
    return f"\t{head:<33}\t{flag.kind.value}\t{text}"
