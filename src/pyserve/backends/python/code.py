"""What a version's module offers, found by name: `predict` and `signatures`, and if it has them `load` and `unload`.

    load(path)              runs once; what it returns is asked for the other names first, the module after it
    signatures              see `declaration`
    predict(inputs)         dict of arrays in, mapping of arrays out; any thread, several at once
    stateless               whether runs may be repeated, and made up for the warm-up: True, or keys of signatures
    unload()                gives back what garbage collection would not

`load` and `predict` get more by the names of their parameters: `model`, in a handler the SavedModel; `predict` also
`signature_key`, which signature is meant.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pyserve.dtypes import Array
from pyserve.errors import InvalidArgumentError

_ABSENT = object()


class VersionCode:
    """The names of one version's code. Making one runs its `load`.

    Args:
        module: Of the version.
        path: Its directory.
        file: For messages.
        model: What a handler is around.

    Raises:
        InvalidArgumentError: It does not offer what it must.
        BaseException: Whatever `load` raises.
    """

    def __init__(self, module: ModuleType, path: Path, file: str, model: Any = None) -> None:
        self._file = file
        self._given: dict[str, Any] = {} if model is None else {"model": model}
        self._owners: tuple[Any, ...] = (module,)
        if (load := self._function("load")) is not None:
            self._owners = (load(path, **self._accepted(load)), module)
        predict = self._function("predict")
        if predict is None:
            raise InvalidArgumentError(f"{file} has no predict(inputs), and what load returned has none")
        if inspect.iscoroutinefunction(predict):
            raise InvalidArgumentError(f"{file}: predict is a coroutine function; it is called on a thread")
        self._predict = predict
        self._extras = self._accepted(predict)
        self._takes_key = _accepts(predict, "signature_key")

    @property
    def signatures(self) -> Any:
        """As declared; None when it declares none."""
        return self._find("signatures", None)

    def check(self, keys: Collection[str]) -> None:
        """Refuse code that could not tell which of its signatures is asked for.

        Raises:
            InvalidArgumentError: There are several, and `predict` does not take the key.
        """
        if len(keys) > 1 and not self._takes_key:
            raise InvalidArgumentError(
                f"{self._file} has the signatures {', '.join(sorted(keys))}: "
                "predict needs a parameter signature_key, to be told which is asked for"
            )

    def stateless(self, keys: Collection[str]) -> frozenset[str]:
        """Which of the signatures may be run, or run again, without anybody noticing.

        Raises:
            InvalidArgumentError: `stateless` is neither a bool nor a collection of keys.
        """
        given = self._find("stateless", False)
        if isinstance(given, bool):
            return frozenset(keys if given else ())
        if isinstance(given, str) or not isinstance(given, Collection) or not set(given) <= set(keys):
            raise InvalidArgumentError(
                f"{self._file}: stateless: expected True, False or keys of signatures, was {given!r:.100}"
            )
        return frozenset(given)

    def predict(self, inputs: Mapping[str, Array], signature_key: str) -> Any:
        """What the code gives; whatever it raises is raised."""
        if self._takes_key:
            return self._predict(inputs, signature_key=signature_key, **self._extras)
        return self._predict(inputs, **self._extras)

    def unload(self) -> None:
        """Run the code's own `unload`, if it has one; whatever it raises is raised."""
        if (unload := self._function("unload")) is not None:
            unload()

    def _find(self, name: str, otherwise: Any) -> Any:
        for owner in self._owners:
            if (found := getattr(owner, name, _ABSENT)) is not _ABSENT:
                return found
        return otherwise

    def _function(self, name: str) -> Callable[..., Any] | None:
        found = self._find(name, None)
        if found is not None and not callable(found):
            raise InvalidArgumentError(f"{self._file}: {name} is no function but {found!r:.100}")
        return found  # type: ignore[no-any-return]

    def _accepted(self, function: Callable[..., Any]) -> dict[str, Any]:
        return {name: value for name, value in self._given.items() if _accepts(function, name)}


def _accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name, or takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # one of C that does not tell
        return False
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD
        or (parameter.name == name and parameter.kind in named)
        for parameter in parameters
    )
