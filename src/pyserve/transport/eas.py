"""The HTTP protocol of Alibaba EAS's TensorFlow processor, as a pure function of the request.

`EasApi` stands in front of another API on the same port and answers the URLs of `eas_url`; the rest is the other's.
The order of the checks: method, service, caller, rate, readiness, body, queue, request. Errors are plain text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import orjson

from pyserve.codec import eas as codec
from pyserve.codec.inflate import InflateError, decoded
from pyserve.config import EasOptions, EasService
from pyserve.dtypes import Array
from pyserve.errors import (
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
)
from pyserve.inference import eas_rules
from pyserve.inference.call import Call, Work
from pyserve.inference.eas_request import task_of
from pyserve.inference.prediction_service import OpenRequest, PredictionService
from pyserve.security.tokens import Credentials, is_accepted
from pyserve.transport import eas_url
from pyserve.transport.admission import Admission
from pyserve.transport.http import HttpApi, HttpRequest, HttpResponse
from pyserve.transport.status import MethodNotAllowedError, eas_status, rest_message

_TEXT = "text/plain; charset=utf-8"
_WEIGHT = 100
_METHODS = ("GET", "POST", "HEAD")
_ALLOW = (("Allow", "GET, POST"),)
_CLOSING = (408, 450)
"""Statuses after which the connection is closed: its client has given up, or should go elsewhere."""
_SMALL_DIGITS = 5
"""Bodies of less than 100 kB are there as soon as their heads are; the head is looked at once, with them."""


class EasApi:
    """EAS's API. Thread-safe: large requests are begun on other threads than small ones.

    Args:
        api: Answers everything else.
        prediction: Runs models.
        options: Services and tokens.
        is_model: Whether a name is that of a model.
        knows: Whether a model was ever seen in a version; without a version, in any.
        runs_of_a_service: Requests of one service that models work on at the same time.
        inflated_limit: How large, in bytes, a compressed body may become.
        clock: `time.monotonic`.
    """

    def __init__(
        self,
        api: HttpApi,
        prediction: PredictionService,
        options: EasOptions,
        *,
        is_model: Callable[[str], bool],
        knows: Callable[[str, int | None], bool],
        runs_of_a_service: int,
        inflated_limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._prediction = prediction
        self._options = options
        self._is_model = is_model
        self._knows = knows
        self._runs = runs_of_a_service
        self._inflated_limit = inflated_limit
        self._clock = clock
        self._admissions: dict[str, Admission] = {}  # by service; only grows, one atomic step at a time

    def begin(self, request: HttpRequest) -> HttpResponse | Call[HttpResponse] | Work[HttpResponse]:
        """Answer a request, or say what to run for it.

        Raises:
            ServingError: To be answered with `error`.
        """
        if (name := eas_url.discovered_service(request.target)) is not None:
            return self._addresses(request, name)
        if not eas_url.is_service(request.target):
            return self._api.begin(request)
        _check_method(request)
        target, service = self._service(request)
        self._check_caller(request, service)
        admission = self._admission(target.name, service)
        admission.check_rate()
        with self._open(target) as opened:
            if not request.body:
                return self._structure(target, service, opened)
            admission.enter()
            try:
                call = self._predict(request, service, opened)
            except BaseException:
                admission.leave()
                raise
        return replace(call, done=lambda code: admission.leave())

    def deadline(self, request: HttpRequest) -> float | None:
        """When a service has to answer: its limit covers the arrival of the body.

        Raises:
            ServingError: The body is a large one, and will not be wanted.
        """
        if not eas_url.is_service(request.target):
            return self._api.deadline(request)
        if _has_large_body(request):
            self._check_before_body(request)
        name = eas_url.requested_model(request.target)
        return self._clock() + self._options.service(name).keepalive_s

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """The response to a request whose body was not taken in; what comes before the body is checked first."""
        if not self._is_ours(request):
            return self._api.refuse(request, error)
        try:
            self._check_before_body(request)
        except ServingError as earlier:
            return self.error(request, earlier)
        return self.error(request, error)

    def error(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """The response that reports a failure."""
        if not self._is_ours(request):
            return self._api.error(request, error)
        status = eas_status(error)
        body = rest_message(error.message).encode()
        headers = _ALLOW if isinstance(error, MethodNotAllowedError) else ()
        return HttpResponse(status, body, content_type=_TEXT, headers=headers, close=status in _CLOSING)

    @staticmethod
    def _is_ours(request: HttpRequest) -> bool:
        target = request.target
        return eas_url.is_service(target) or eas_url.discovered_service(target) is not None

    # --- the checks, in their order ------------------------------------------------------------------------------

    def _service(self, request: HttpRequest) -> tuple[eas_url.Target, EasService]:
        target = eas_url.parse(request.target)
        if not self._is_model(target.name):
            raise NotFoundError(f"There is no service {target.name}")
        return target, self._options.service(target.name)

    def _check_caller(self, request: HttpRequest, service: EasService, *, has_body: bool = True) -> None:
        credentials = Credentials.of(request.headers, request.target, request.body)
        tokens = (*service.tokens, *self._options.tokens)
        if not is_accepted(credentials, tokens, check_body=has_body and self._options.check_content_md5):
            raise UnauthenticatedError(
                "The token is wrong"
                if credentials.authorization
                else "The service needs a token: Authorization"
            )

    def _check_before_body(self, request: HttpRequest) -> None:
        _check_method(request)
        target, service = self._service(request)
        self._check_caller(request, service, has_body=False)
        with self._open(target):
            pass  # it is ready

    def _admission(self, name: str, service: EasService) -> Admission:
        found = self._admissions.get(name)
        if found is None:
            made = Admission(self._runs + service.max_queue_size, service.rate_limit, self._clock)
            found = self._admissions.setdefault(name, made)
        return found

    def _open(self, target: eas_url.Target) -> OpenRequest:
        """Begin a request on a model.

        Raises:
            NotFoundError: There is no such version or label.
            UnavailableError: It is not ready, or not any more.
        """
        try:
            return self._prediction.open(target.name, target.version, target.label)
        except NotFoundError as error:
            if target.version is None or self._knows(target.name, target.version):
                raise UnavailableError(f"Service {target.name} is not ready: {error.message}") from None
            raise
        except InvalidArgumentError as error:  # a label that the model does not have
            raise NotFoundError(error.message) from None

    # --- the answers ---------------------------------------------------------------------------------------------

    @staticmethod
    def _structure(target: eas_url.Target, service: EasService, opened: OpenRequest) -> HttpResponse:
        if service.frozen:
            raise InvalidArgumentError("A frozen graph has no structure to describe")
        wanted = target.signature_name
        signature = eas_rules.chosen_signature(opened.signatures, wanted, service.default_signature)
        return HttpResponse(200, codec.structure_body(signature))

    def _predict(self, request: HttpRequest, service: EasService, opened: OpenRequest) -> Call[HttpResponse]:
        coding = request.headers.get("Content-Encoding", "")
        try:
            body = decoded(request.body, coding, self._inflated_limit)
        except InflateError as error:
            raise type(error)(f"The request's body is refused: {error.message}") from error
        task = task_of(codec.decode_request(body), service, opened, request.deadline)
        return Call(task, _answer)

    def _addresses(self, request: HttpRequest, name: str) -> HttpResponse:
        _check_method(request)
        if not self._is_model(name):
            raise NotFoundError(f"There is no service {name}")
        address = self._options.advertised_address or request.local_address()
        if address is None:
            raise UnavailableError("The server's own address is not known (--eas_advertised_address)")
        item = {"ip": _ip(str(address[0])), "port": address[1], "weight": _WEIGHT}
        return HttpResponse(200, orjson.dumps({"endpoints": {"items": [item]}}))


def _answer(outputs: dict[str, Array]) -> HttpResponse:
    return HttpResponse(200, codec.encode_response(outputs), content_type="application/octet-stream")


def _has_large_body(request: HttpRequest) -> bool:
    """Whether the body is worth a check of its own before it comes; one in chunks may be."""
    length = request.headers.get("Content-Length", "0")
    return "Transfer-Encoding" in request.headers or len(length) > _SMALL_DIGITS


def _check_method(request: HttpRequest) -> None:
    if request.method not in _METHODS:
        raise MethodNotAllowedError(f"Method {request.method} is not allowed; expected GET or POST")


def _ip(host: str) -> str:
    """An address as it stands in a URL: IPv4 that came over an IPv6 socket is IPv4, IPv6 is put in brackets."""
    host = host.removeprefix("::ffff:") if "." in host else host
    return f"[{host}]" if ":" in host else host
