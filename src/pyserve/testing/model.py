"""One model of the fake: what its next runs are to do, and what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyserve.errors import ServingError, error_for
from pyserve.testing.requests import INFERENCE, Request, difference
from pyserve.testing.script import Gate, Script, code_of

_FIELDS = ("protocol", "method", "version", "label", "signature", "output_filter", "served_version", "code")


class Model:
    """Scripts and assertions for one model, all of its versions together. From any thread.

    Args:
        name: Its name.
        script: What its runs follow.
        requests: Everything that reached the server, in the order of arrival.
    """

    def __init__(self, name: str, script: Script, requests: Callable[[], list[Request]]) -> None:
        self.name = name
        self._script = script
        self._all_requests = requests

    # --- what is to happen ---------------------------------------------------------------------------------------

    def reply(self, outputs: Mapping[str, Any], *, times: int | None = 1) -> None:
        """Answer the next runs with these outputs; None: every run until `reset`. Scripted runs come in turn.

        An output that is missing, or not of the declared dtype, makes the request fail with INTERNAL.
        """
        self._script.reply(outputs, times)

    def fail(self, error: ServingError | Any, message: str = "", *, times: int | None = 1) -> None:
        """Fail the next runs; None: every run until `reset`. Scripted runs come in turn.

        Args:
            error: A `ServingError`, or a code: its name (`"UNAVAILABLE"`), `pyserve.errors.Code`, `grpc.StatusCode`.
            message: The text, when a code is given.
            times: How many runs.
        """
        if not isinstance(error, ServingError):
            code = code_of(error)
            error = error_for(code, message or f"{code.name.lower()} on purpose")
        self._script.fail(error, times)

    def delay(self, seconds: float) -> None:
        """Let every run take so much longer, until `reset` or another delay."""
        self._script.delay(seconds)

    def hold(self) -> Gate:
        """Hold every run from now on until the gate is opened."""
        return self._script.hold()

    def reset(self) -> None:
        """Forget what was scripted; open the gates."""
        self._script.reset()

    # --- what has happened ---------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """Everything that named this model, in the order of arrival; refused requests too."""
        return [request for request in self._all_requests() if request.model == self.name]

    @property
    def calls(self) -> list[Request]:
        """Those of them that wanted a result of the model: no status, no metadata."""
        return [request for request in self.requests if request.method in INFERENCE]

    def assert_called(self) -> None:
        """There was a call."""
        if not self.calls:
            raise AssertionError(f"model {self.name} was not called{self._listing()}")

    def assert_not_called(self) -> None:
        """There was no call."""
        if self.calls:
            raise AssertionError(f"model {self.name} was called {len(self.calls)} times{self._listing()}")

    def assert_called_once(self) -> None:
        """There was one call."""
        if len(self.calls) != 1:
            raise AssertionError(
                f"model {self.name} was called {len(self.calls)} times, expected once{self._listing()}"
            )

    def assert_called_with(self, inputs: Mapping[str, Any] | None = None, **where: Any) -> None:
        """The last call was like this.

        Args:
            inputs: By alias, compared by shape and value; None: any.
            where: `version`, `label`, `signature`, `output_filter` as the caller named them; `protocol`, `method`,
                `served_version`, `code`.
        """
        _check(where)
        self.assert_called()
        if (wrong := difference(self.calls[-1], inputs, where)) is not None:
            raise AssertionError(f"the last call of model {self.name}: {wrong}{self._listing()}")

    def assert_called_once_with(self, inputs: Mapping[str, Any] | None = None, **where: Any) -> None:
        """There was one call, and it was like this."""
        self.assert_called_once()
        self.assert_called_with(inputs, **where)

    def assert_any_call(self, inputs: Mapping[str, Any] | None = None, **where: Any) -> None:
        """One of the calls was like this."""
        _check(where)
        if all(difference(call, inputs, where) is not None for call in self.calls):
            raise AssertionError(f"no call of model {self.name} was like that{self._listing()}")

    def _listing(self) -> str:
        requests = self.requests
        return "".join(f"\n  {request}" for request in requests[-10:]) or "; nothing asked for it"


def _check(where: Mapping[str, Any]) -> None:
    if unknown := sorted(where.keys() - set(_FIELDS)):
        raise TypeError(f"{unknown[0]}: expected one of {', '.join(_FIELDS)}")
