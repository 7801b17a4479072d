"""Brings the models and warm-up requests that EAS service files name to where a server can load them.

    a directory, or file://     as it is: nothing is copied
    an archive, or one by http(s)   unpacked into the cache
    a frozen graph (x.pb)       wrapped as a SavedModel, in the cache

What is put into the cache is made beside its place and renamed into it, so that it is whole or not there. A model
without numbered directories becomes version 1.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

from pyserve.codec.eas import decode_request
from pyserve.codec.frozen_graph import saved_model_of
from pyserve.config import EasService, ModelConfig, ServerConfig
from pyserve.errors import InvalidArgumentError, NotFoundError, ServingError, UnimplementedError, file_error
from pyserve.lifecycle.versions import parse_version
from pyserve.tools.archive import UnpackLimits, is_archive, unpack
from pyserve.tools.download import download, shown, url_parts

logger = logging.getLogger(__name__)

_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt", "model.tflite")
_DEPTH = 3
_WARM_UP_BYTES = 256 * 2**20


def prepared(config: ServerConfig, cache: Path, limits: UnpackLimits | None = None) -> ServerConfig:
    """The configuration with local base paths for the models of services, and their warm-up requests read.

    Args:
        cache: Directory for what is downloaded, unpacked or wrapped; made when needed. It is never tidied up.
        limits: Of archives.

    Raises:
        ServingError: A model or a file of requests cannot be had, or is not what it should be.
    """
    if config.eas is None or not config.eas.services:
        return config
    services: dict[str, EasService] = dict(config.eas.services)
    models = []
    for model in config.models:
        service = services.get(model.name)
        if service is not None:
            try:
                place = _Place(cache, limits or UnpackLimits())
                found = place.model(model, service, config.tensorflow.saved_model_tags)
                services[model.name] = replace(
                    service, frozen=found.frozen, warm_up=tuple(_warm_up(service.warm_up_paths))
                )
            except OSError as error:
                raise file_error(error) from error
            model = replace(model, base_path=str(found.base_path))
        models.append(model)
    eas = replace(config.eas, services=MappingProxyType(services))
    return replace(config, models=tuple(models), eas=eas)


@dataclass(frozen=True, slots=True)
class _Found:
    """A base path whose numbered children are versions, and whether the model is a frozen graph."""

    base_path: Path
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where models are put.

    Attributes:
        cache: The directory.
        limits: Of archives.
    """

    cache: Path
    limits: UnpackLimits

    def model(self, model: ModelConfig, service: EasService, tags: frozenset[str]) -> _Found:
        def wrap(graph: Path) -> bytes:
            return saved_model_of(
                graph.read_bytes(), service.graph_inputs, service.graph_outputs, tags=sorted(tags)
            )

        scheme = url_parts(model.base_path).scheme if "://" in model.base_path else ""
        if scheme in ("http", "https"):
            return self._downloaded(model.base_path, service.model_entry, wrap)
        path = local_path(model.base_path, "model_path")
        if path.is_file() and is_archive(path.name):
            return self._unpacked(path, service.model_entry, wrap)
        if not path.exists():
            raise NotFoundError(f"model_path {path} of service {model.name} is not there")
        return self._local(path, service.model_entry, wrap)

    def _downloaded(self, url: str, entry: str, wrap: Callable[[Path], bytes]) -> _Found:
        name = Path(unquote(url_parts(url).path)).name
        if not is_archive(name):
            raise InvalidArgumentError(f"model_path {shown(url)} must be an archive: .tar.gz, .tar, .tar.bz2")
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=self.cache) as scratch:
            archive = Path(scratch) / name
            download(url, archive, self.limits.max_bytes)
            return self._unpacked(archive, entry, wrap)

    def _unpacked(self, archive: Path, entry: str, wrap: Callable[[Path], bytes]) -> _Found:
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        place = self.cache / digest.hexdigest()

        def fill(new: Path) -> None:
            unpack(archive, new, self.limits)
            logger.info("Unpacked %s into %s", archive.name, place)

        self._publish(place, fill)
        return self._local(place, entry, wrap)

    def _local(self, root: Path, entry: str, wrap: Callable[[Path], bytes]) -> _Found:
        found = locate(root, entry)
        if found.is_dir() and not _holds_saved_model(found):
            return _Found(found)  # numbered directories
        if found.is_dir():
            link = hashlib.sha256(f"link {found}".encode()).hexdigest()
            return _Found(self._publish(self.cache / link, lambda new: (new / "1").symlink_to(found)))
        content = wrap(found)

        def fill(new: Path) -> None:
            (new / "1").mkdir()
            (new / "1" / "saved_model.pb").write_bytes(content)

        return _Found(self._publish(self.cache / hashlib.sha256(content).hexdigest(), fill), frozen=True)

    def _publish(self, place: Path, fill: Callable[[Path], object]) -> Path:
        """A directory with a content that its name stands for, filled out of sight unless it is there already."""
        if place.is_dir():
            return place
        self.cache.mkdir(parents=True, exist_ok=True)
        with _removed_on_failure(Path(tempfile.mkdtemp(prefix=".new-", dir=self.cache))) as new:
            fill(new)
            new.chmod(0o755)  # mkdtemp's are for the owner alone
            try:
                new.rename(place)
            except OSError:
                if not place.is_dir():
                    raise
                shutil.rmtree(new)  # another process was faster; what it made is the same
        return place


@contextmanager
def _removed_on_failure(directory: Path) -> Iterator[Path]:
    try:
        yield directory
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def local_path(path: str, what: str) -> Path:
    """A path, or a file URL, as an absolute path.

    Raises:
        UnimplementedError: It is the URL of something else.
    """
    if "://" not in path:
        return Path(path).absolute()
    parts = url_parts(path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise UnimplementedError(
            f"{what} {shown(path)} is not supported: expected a path, file://, http:// or https://"
        )
    return Path(unquote(parts.path))


def locate(root: Path, entry: str = "") -> Path:
    """Where below a directory, or a file, the model is.

    Args:
        root: A directory, or a frozen graph.
        entry: Path inside it; empty: look for it.

    Returns:
        The directory of a SavedModel, one whose children are versions, or a frozen graph's file.

    Raises:
        InvalidArgumentError: There is none, or several, or the entry leads outside.
    """
    if entry:
        inner = (root / entry).resolve()
        if not inner.is_relative_to(root.resolve()) or not inner.exists():
            raise InvalidArgumentError(f"model_entry {entry!r} is not in the model's files")
        root = inner.parent if inner.name in _SAVED_MODELS else inner
    if root.is_file():
        if root.suffix != ".pb":
            raise InvalidArgumentError(
                f"{root.name} is neither a SavedModel, an archive nor a frozen graph (.pb)"
            )
        return root
    if _holds_saved_model(root) or _holds_versions(root):
        return root
    found = sorted(_models_below(root, _DEPTH))
    if not found:
        found = sorted(root.rglob("*.pb"))
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(root)) for path in found[:5]) or "none"
        raise InvalidArgumentError(
            f"expected one SavedModel, directory of versions or frozen graph (.pb) there, found {names}; "
            "model_entry says which"
        )
    return found[0]


def _holds_saved_model(directory: Path) -> bool:
    return any((directory / name).is_file() for name in _SAVED_MODELS)


def _holds_versions(directory: Path) -> bool:
    return any(
        parse_version(child.name) is not None and child.is_dir() and _holds_saved_model(child)
        for child in directory.iterdir()
    )


def _models_below(directory: Path, depth: int) -> Iterator[Path]:
    for child in directory.iterdir():
        if not child.is_dir():
            continue
        if _holds_saved_model(child) or _holds_versions(child):
            yield child
        elif depth > 1:
            yield from _models_below(child, depth - 1)


def _warm_up(paths: tuple[str, ...]) -> Iterator[bytes]:
    """The requests of these files, and of those in these directories by name.

    Raises:
        InvalidArgumentError: A file holds no request.
        ServingError: It cannot be read.
    """
    for path in paths:
        if "://" in path and url_parts(path).scheme in ("http", "https"):
            with tempfile.TemporaryDirectory() as scratch:
                file = Path(scratch) / "request"
                download(path, file, _WARM_UP_BYTES)
                yield _request(file, shown(path))
            continue
        found = local_path(path, "warm_up_data_path")
        files = sorted(file for file in found.iterdir() if file.is_file()) if found.is_dir() else [found]
        if not files:
            raise InvalidArgumentError(f"warm_up_data_path {path} is an empty directory")
        for file in files:
            yield _request(file, str(file))


def _request(file: Path, name: str) -> bytes:
    data = file.read_bytes()
    try:
        if not decode_request(data).arrays:
            raise InvalidArgumentError("it has no inputs")
    except ServingError as error:
        raise InvalidArgumentError(
            f"warm_up_data_path {name} holds no request, as the client's to_string() gives it: {error.message}"
        ) from error
    return data


def default_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where models are kept when nothing else is said."""
    root = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "pyserve" / "models"
