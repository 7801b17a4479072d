"""The life cycle and the request path, wired together: everything of a server that needs no socket.

files ─► source ─► manager ─► loader ─► servable ◄─ router ◄─ prediction, models ◄─ front ends
                      │                                │
                      └──► monitor ◄───────────────────┘ status
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from typing import Protocol

from pyserve.batching.scheduler import Scheduler
from pyserve.codec.model_config import read_model_config
from pyserve.config import ServerConfig
from pyserve.inference.model_service import ModelService
from pyserve.inference.prediction_service import PredictionService
from pyserve.inference.router import Router
from pyserve.inference.warmup import WarmUp
from pyserve.inference.warmup_file import Replayed
from pyserve.lifecycle.base_path import ListChildren, children_on_disk, found_versions
from pyserve.lifecycle.config_file import ConfigFile
from pyserve.lifecycle.configuration import Configuration
from pyserve.lifecycle.loader import Loader
from pyserve.lifecycle.manager import Manager
from pyserve.lifecycle.monitor import Monitor
from pyserve.lifecycle.source import FileSystemSource
from pyserve.lifecycle.startup import Outcome, Verdict
from pyserve.observe.serving_metrics import ServingMetrics
from pyserve.servable import ServableId
from pyserve.server.metered_loader import MeteredLoader

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """What knows how to turn a path into a servable."""

    def prepare(self, *, own_process: bool) -> None:
        """Begin, in the background, whatever the first load would otherwise wait for. Returns at once.

        Args:
            own_process: The process belongs to the server, so process-wide settings are the backend's to make.
        """
        ...

    def make_loader(self, id: ServableId, path: str) -> Loader:
        """A loader for one version; does no work yet. Called on the manager's thread."""
        ...

    def incomplete_reason(self, path: str) -> str | None:
        """Why a version's files are not all there yet; None when they are. Never raises."""
        ...


class Core:
    """Models and what answers for them. Making one starts nothing.

    Args:
        config: What to serve.
        backend: What loads it.
        monitor: Hears every change of state.
        platforms: What loads the models of these platforms instead of `backend`.
        list_children: Where versions are found.
    """

    def __init__(
        self,
        config: ServerConfig,
        backend: Backend,
        monitor: Monitor,
        platforms: Mapping[str, Backend] | None = None,
        list_children: ListChildren = children_on_disk,
    ) -> None:
        self._config = config
        self._backend = backend
        self._platforms = platforms or {}
        self.monitor = monitor
        self.metrics = ServingMetrics()
        prepare = WarmUp(
            from_file=config.enable_model_warmup,
            iterations=config.num_request_iterations_for_warmup,
            from_signature=config.warmup_from_signature,
            check_method_name=config.enable_signature_method_name_check,
            on_replayed=self._on_replayed,
        )
        self.manager = Manager(self._make_loader, self.monitor, config.load, prepare=prepare)
        self._source = FileSystemSource(
            self.manager.aspire,
            backend.incomplete_reason,
            config.load,
            list_children=list_children,
            on_poll=self.monitor.wake,
        )
        self.configuration = Configuration(
            self._source,
            self.manager,
            self.monitor,
            any_new_label=config.allow_version_labels_for_unavailable_models,
            on_disk=functools.partial(found_versions, list_children=list_children),
        )
        self._config_file: ConfigFile | None = None
        if config.model_config_file and config.model_config_file_poll_wait_seconds > 0:
            path, platforms_known = config.model_config_file, config.platform_names
            self._config_file = ConfigFile(
                lambda: read_model_config(path, platforms_known),
                self.configuration,
                self.monitor,
                config.model_config_file_poll_wait_seconds,
            )
        router = Router(self.manager.acquire, self.configuration.labels)
        self.scheduler = Scheduler(config.num_run_threads or _default_run_threads())
        self.prediction = PredictionService(
            router, check_method_name=config.enable_signature_method_name_check
        )
        self.models = ModelService(self.monitor, router)

    def start(self, *, own_process: bool) -> None:
        """Begin to find, load and run models. Returns at once."""
        self._backend.prepare(own_process=own_process)
        self.scheduler.start()
        self.manager.start()
        self.configuration.begin(self._config.models)
        self._source.start()

    def look_for_versions(self) -> None:
        """Have the base paths looked at soon, without waiting for the next poll. Returns at once."""
        self._source.poll_soon()

    def wait_for_first_results(self, give_up: Callable[[], bool]) -> None:
        """Block until the models have their first results, or until `give_up`; the monitor's `wake` makes it look.

        Raises:
            ServingError: A model cannot be loaded, and that ends the start.
        """
        self.monitor.wait(lambda: give_up() or self._verdict().outcome is not Outcome.WAITING)
        if give_up():
            return
        if (error := self._verdict().error) is not None:
            raise error
        self.manager.end_initial_load()
        logger.info("Finished adding/updating models")
        if self._config_file is not None:
            self._config_file.start()

    def is_model(self, name: str) -> bool:
        """Whether a name is that of a model, configured or once loaded. Takes no lock."""
        return self.monitor.knows(name) or self.configuration.platform_of(name) is not None

    def serves(self, name: str) -> bool | None:
        """Whether a model can be called; None when there is none of this name. Takes no lock."""
        return bool(self.manager.available_versions(name)) if self.is_model(name) else None

    def model_names(self) -> list[str]:
        """Every model, configured or once loaded, sorted."""
        return sorted({*(model.name for model in self.configuration.in_force.listed), *self.monitor.names()})

    def model_states(self) -> dict[str, str]:
        """What each configured model is up to: `available`, or why it is not."""
        waiting_for = self._verdict().waiting_for
        states: dict[str, str] = {}
        for model in self.configuration.in_force.listed:
            if self.manager.available_versions(model.name):
                states[model.name] = "available"
                continue
            newest = next(iter(self.monitor.versions(model.name)), None)
            if newest is not None and not newest.status.ok:
                states[model.name] = f"version {newest.id.version}: {newest.status}"
            else:
                states[model.name] = waiting_for.get(model.name, "no version available")
        return states

    def stop_reloads(self) -> None:
        """Take no new configuration any more, and let those go who wait for one. Returns at once."""
        self.configuration.stop()

    def stop(self, timeout_s: float) -> bool:
        """Unload everything and end every thread, within about `timeout_s` seconds.

        Returns:
            False when a thread is left, inside a load or a run that cannot be interrupted. It is a daemon.
        """
        self.configuration.stop()
        if self._config_file is not None:
            self._config_file.stop(timeout_s)
        self._source.stop(timeout_s)
        idle = self.scheduler.stop(timeout_s)
        return self.manager.stop(timeout_s) and idle

    def _on_replayed(self, replayed: Replayed) -> None:
        labels = (replayed.model_path, str(replayed.status))
        self.metrics.model_warmup_latency.observe(labels, replayed.duration_s * 1e6)
        self.metrics.model_warmup_records_read.add(labels, replayed.records)

    def _verdict(self) -> Verdict:
        return self.configuration.first_results(self._config.load.fail_on_initial_load_error)

    def _make_loader(self, id: ServableId, path: str) -> Loader:
        platform = self.configuration.platform_of(id.name) or ""
        backend = self._platforms.get(platform, self._backend)
        return MeteredLoader(backend.make_loader(id, path), path, self.metrics)


def _default_run_threads() -> int:
    """One model run per core, and one more so that a core is not idle while a thread hands over its results."""
    return (os.cpu_count() or 1) + 1
