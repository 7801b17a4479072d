"""The flag parser: TensorFlow's syntax, and ours where it is kinder."""

from __future__ import annotations

import pytest

from pyserve.cli.flags import (
    Flag,
    FlagValueError,
    Kind,
    State,
    UnknownArgumentError,
    parse,
    set_away_from_default,
    usage,
)

TABLE = (
    Flag("port", Kind.INT32, 8500, "a port"),
    Flag("load_retry_interval_micros", Kind.INT64, 60, "a pause"),
    Flag("enable_batching", Kind.BOOL, False, "batching"),
    Flag("name", Kind.STRING, "default", "a name", State.WARNED, "no reason"),
    Flag("fraction", Kind.FLOAT, 0.5, "a share"),
    Flag("own", Kind.BOOL, True, "ours", own=True),
)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ([], {}),
        (["--port=1"], {"port": 1}),
        (["--port", "1"], {"port": 1}),
        (["--port=1", "--port=2"], {"port": 2}),
        (["--port=-1"], {"port": -1}),
        (["--port", "-1"], {"port": -1}),
        (["--port=+7"], {"port": 7}),
        (["--port= 7"], {"port": 7}),
        (["--load_retry_interval_micros=9223372036854775807"], {"load_retry_interval_micros": 2**63 - 1}),
        (["--enable_batching"], {"enable_batching": True}),
        (["--enable_batching=TRUE"], {"enable_batching": True}),
        (["--enable_batching=False"], {"enable_batching": False}),
        (["--name="], {"name": ""}),
        (["--name=a=b"], {"name": "a=b"}),
        (['--name="quoted"'], {"name": '"quoted"'}),
        (["--name", "spaced"], {"name": "spaced"}),
        (["--fraction=1e-2"], {"fraction": 0.01}),
        (["--fraction=.5"], {"fraction": 0.5}),
    ],
)
def test_values(arguments: list[str], values: dict[str, object]) -> None:
    """Every form that TensorFlow's parser takes is taken, and a value behind a blank too."""
    assert parse(arguments, TABLE) == values


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port=8500x"], "Couldn't interpret value --port=8500x for flag port."),
        (["--port=1.5"], "Couldn't interpret value --port=1.5 for flag port."),
        (["--port="], "Couldn't interpret value --port= for flag port."),
        (["--port=2147483648"], "--port=2147483648"),
        (["--port=" + "9" * 5000], "--port=999"),
        (["--port"], "Couldn't interpret value --port for flag port."),
        (["--port", "--name=x"], "Couldn't interpret value --port for flag port."),
        (["--load_retry_interval_micros=9223372036854775808"], "for flag load_retry_interval_micros."),
        (["--enable_batching=1"], "--enable_batching=1 for flag enable_batching."),
        (["--enable_batching="], "--enable_batching= for flag enable_batching."),
        (["--fraction=half"], "--fraction=half for flag fraction."),
        (["--port=x", "--nonsense"], "--port=x"),
        (["--nonsense", "--port=x"], "--port=x"),
        (["--port=x", "--fraction=y"], "--fraction=y"),
    ],
)
def test_wrong_values(arguments: list[str], named: str) -> None:
    """A wrong value is named with its flag, also when an unknown argument stands before it."""
    with pytest.raises(FlagValueError) as caught:
        parse(arguments, TABLE)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--prot=1"], "unknown argument: --prot=1\nDid you mean --port=1?"),
        (["-port=1"], "unknown argument: -port=1\nDid you mean --port=1?"),
        (["--enable_batchingx"], "unknown argument: --enable_batchingx\nDid you mean --enable_batching?"),
        (["stray"], "unknown argument: stray"),
        (["--", "--port=1"], "unknown argument: --"),
        (["--enable_batching", "true"], "unknown argument: true"),
        (["--zzzzzz"], "unknown argument: --zzzzzz"),
    ],
)
def test_unknown_arguments(arguments: list[str], text: str) -> None:
    """An argument that no flag takes is an error that names the nearest flag."""
    with pytest.raises(UnknownArgumentError) as caught:
        parse(arguments, TABLE)
    assert str(caught.value) == text


def test_set_away_from_default() -> None:
    """Only a flag given another value than its default counts as set."""
    assert set_away_from_default({"name": "default"}, TABLE, State.WARNED) == []
    assert [f.name for f in set_away_from_default({"name": "x", "port": 1}, TABLE, State.WARNED)] == ["name"]


def test_usage_format() -> None:
    """The usage text has TensorFlow's columns, and ours stand apart."""
    lines = usage("pyserve", TABLE).splitlines()
    assert lines[:2] == ["usage: pyserve", "Flags:"]
    assert lines[2] == "\t--port=8500                      \tint32\ta port"
    assert (
        lines[5] == '\t--name="default"                 \tstring\ta name [ignored with a warning: no reason]'
    )
    assert lines[6] == "\t--fraction=0.500000              \tfloat\ta share"
    assert lines[-2] == "pyserve's own flags:"
    assert lines[-1].startswith("\t--own=true ")
