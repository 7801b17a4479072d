"""Which children of a base path are versions, and which of them a policy takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserve.config import INT64_MAX, All, Latest, Specific, VersionPolicy
from pyserve.lifecycle.versions import choose, choose_versions, parse_version


@pytest.mark.parametrize(
    ("child", "version"),
    [
        ("1", 1),
        ("0", 0),
        ("00000123", 123),
        ("+7", 7),
        ("-7", -7),
        (" 5 ", 5),
        ("\t5\n", 5),
        (str(INT64_MAX), INT64_MAX),
        (str(-INT64_MAX - 1), -INT64_MAX - 1),
        ("0" * 60 + "9", 9),
        (str(INT64_MAX + 1), None),
        (str(-INT64_MAX - 2), None),
        ("9" * 5000, None),
        ("", None),
        (" ", None),
        ("+", None),
        ("--1", None),
        ("- 1", None),
        ("1 2", None),
        ("v1", None),
        ("1.tmp", None),
        ("2.denied", None),
        ("1.0", None),
        ("1e3", None),
        ("0x1", None),
        ("1_000", None),
        ("١", None),
        ("²", None),
        ("1\u00a0", None),
        ("1\x00", None),
    ],
)
def test_a_name_is_a_version_when_all_of_it_is_an_int64(child: str, version: int | None) -> None:
    """A child's name counts as a version exactly when TensorFlow's int64 parser accepts it."""
    assert parse_version(child) == version


CHILDREN = ["1", "3", "0002", "10", "x", "4.tmp"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Latest(), [(10, "10")]),
        (Latest(0), [(10, "10")]),
        (Latest(2), [(3, "3"), (10, "10")]),
        (Latest(9), [(1, "1"), (2, "0002"), (3, "3"), (10, "10")]),
        (All(), [(1, "1"), (2, "0002"), (3, "3"), (10, "10")]),
        (Specific((2, 10)), [(2, "0002"), (10, "10")]),
        (Specific((10, 2, 10)), [(2, "0002"), (10, "10")]),
        (Specific((2, 7)), [(2, "0002")]),
        (Specific((7,)), []),
        (Specific(()), []),
    ],
)
def test_policies_choose_by_number(policy: VersionPolicy, expected: list[tuple[int, str]]) -> None:
    """Each policy takes the versions that its definition names, by number and not by text."""
    assert choose_versions(CHILDREN, policy) == expected


@pytest.mark.parametrize("policy", [Latest(), All(), Specific((1,))])
@pytest.mark.parametrize("children", [["1", "0001", "01"], ["01", "0001", "1"]])
def test_of_equal_numbers_the_last_name_wins(policy: VersionPolicy, children: list[str]) -> None:
    """Of children with the same number the lexicographically last is taken, with one warning."""
    choice = choose("m", children, policy)
    assert choice.versions == ((1, "1"),)
    assert choice.warnings == (
        "Duplicate version directories detected. Version 1 will be loaded from 1, 0001, 01 will be ignored.",
    )


def test_nothing_to_choose_from() -> None:
    """Without versions every policy chooses nothing."""
    for policy in (Latest(), All(), Specific((1,))):
        assert choose_versions(["x", "1.tmp"], policy) == []


def test_warnings_of_the_specific_policy() -> None:
    """Each listed version that is not there is warned about, and so is an empty list."""
    why = "which was requested to be served as a 'specific' version in the servable's version policy"
    assert choose("m", ["1"], Specific((3, 1, 2))).warnings == (
        f"Version 2 of servable m, {why}, was not found in the file system",
        f"Version 3 of servable m, {why}, was not found in the file system",
    )
    assert choose("m", ["1"], Specific(())).warnings == ("No specific versions requested for servable m.",)


@given(st.sets(st.integers(-(2**63), 2**63 - 1), max_size=20), st.integers(0, 25))
def test_latest_takes_the_highest(versions: set[int], count: int) -> None:
    """Latest(n) takes the max(n, 1) highest numbers, whatever the order of the children."""
    chosen = [version for version, _ in choose_versions({str(v) for v in versions}, Latest(count))]
    assert chosen == sorted(versions, reverse=True)[: max(count, 1)][::-1]
