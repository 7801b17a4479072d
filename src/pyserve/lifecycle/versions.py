"""Which children of a base path are the versions to serve. Pure: names in, a choice out, no disk, no log.

First step of the control flow; `source.py` lists directories, asks here, and logs what comes back.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyserve.config import INT64_MAX, All, Latest, Specific, VersionPolicy
from pyserve.errors import ServingError

# TensorFlow's strict int64 parser: blanks around, one sign, decimal digits of ASCII only.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*", re.ASCII)


class Finding(enum.Enum):
    """What the latest poll found for a model; the value is fit for a readiness reason."""

    MISSING_PATH = "missing path"
    NO_VERSIONS = "no versions"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class AspiredVersion:
    """One version that should be served.

    Attributes:
        version: Its number.
        path: The directory (or file) to load it from.
        complete: False while its files still arrive: it is announced (START) and not loaded.
        error: Set when it is known beforehand that it cannot be loaded; it goes to END with this error.
    """

    version: int
    path: str
    complete: bool = True
    error: ServingError | None = None


def with_kept(
    chosen: Sequence[AspiredVersion], before: Sequence[AspiredVersion], keep: Collection[int]
) -> tuple[AspiredVersion, ...]:
    """What was chosen, and of what was aspired before the versions to keep, as they were; ascending by number."""
    numbers = {version.version for version in chosen}
    kept = [version for version in before if version.version in keep and version.version not in numbers]
    return tuple(sorted([*chosen, *kept], key=lambda version: version.version))


@dataclass(frozen=True, slots=True)
class Choice:
    """The versions chosen, ascending by number, each with its child's name, and what to warn about."""

    versions: tuple[tuple[int, str], ...]
    warnings: tuple[str, ...] = ()


def parse_version(child: str) -> int | None:
    """The version number that a child's name spells, or None when it is no number of 64 bits.

    `00000123` is 123; a sign and surrounding blanks are accepted; `v1` and `1.tmp` are no versions.
    """
    match = _NUMBER.fullmatch(child)
    # 40 digits are far beyond 64 bits; the limit keeps int() from chewing on a name made to be long.
    if match is None or len(match[1].lstrip("+-0")) > 40:
        return None
    number = int(match[1])
    return number if -INT64_MAX - 1 <= number <= INT64_MAX else None


def choose_versions(children: Iterable[str], policy: VersionPolicy) -> list[tuple[int, str]]:
    """The versions that a policy wants among the children of a base path.

    Args:
        children: Names of immediate children, files and directories alike; those that are no numbers are
            skipped.
        policy: `Latest` takes the highest numbers, `All` every one, `Specific` those listed that are there.

    Returns:
        (version, child's name), ascending by version, each version once. Of several children that spell
        the same number the last in lexicographic order is taken.

    Source: TensorFlow Serving, file_system_storage_path_source.cc.
    """
    found = {version: names[-1] for version, names in _by_version(children).items()}
    match policy:
        case Latest(count):
            wanted = sorted(found)[-max(count, 1) :]
        case All():
            wanted = sorted(found)
        case Specific(listed):
            wanted = sorted(set(listed) & found.keys())
    return [(version, found[version]) for version in wanted]


def choose(servable: str, children: Iterable[str], policy: VersionPolicy) -> Choice:
    """`choose_versions`, together with the warnings that TensorFlow Serving logs about the choice."""
    children = list(children)
    versions = tuple(choose_versions(children, policy))
    warnings = [
        f"Duplicate version directories detected. Version {version} will be loaded from {names[-1]}, "
        f"{', '.join(names[:-1])} will be ignored."
        for version, names in sorted(_by_version(children).items())
        if len(names) > 1
    ]
    if isinstance(policy, Specific):
        if not policy.versions:
            warnings.append(f"No specific versions requested for servable {servable}.")
        missing = sorted(set(policy.versions) - {version for version, _ in versions})
        warnings += [
            f"Version {version} of servable {servable}, which was requested to be served as a 'specific' "
            "version in the servable's version policy, was not found in the file system"
            for version in missing
        ]
    return Choice(versions, tuple(warnings))


def _by_version(children: Iterable[str]) -> Mapping[int, list[str]]:
    """Names of the children that spell a number, by number, each list in lexicographic order."""
    index: dict[int, list[str]] = {}
    for child in sorted(set(children)):
        version = parse_version(child)
        if version is not None:
            index.setdefault(version, []).append(child)
    return index
