"""The life cycle and the request path, wired together: everything of a server that needs no socket.

files ─► source ─► manager ─► loader ─► servable ◄─ router ◄─ prediction, models ◄─ front ends
                      │                                │
                      └──► monitor ◄───────────────────┘ status
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from pyserve.batching.scheduler import Scheduler
from pyserve.batching.task import Task
from pyserve.codec.model_config import read_model_config
from pyserve.config import ServerConfig
from pyserve.inference.eas_warmup import warm_up_by_eas
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
from pyserve.servable import Servable, ServableId
from pyserve.server.metered_loader import MeteredLoader
from pyserve.server.version_batching import VersionBatching, run_threads, thread_name

logger = logging.getLogger(__name__)

AVAILABLE = "available"
"""What `model_states` says of a model that can be called; more may follow."""


class Backend(Protocol):
    """What knows how to turn a path into a servable."""

    def prepare(self, *, own_process: bool) -> None:
        """Begin, in the background, whatever the first load would otherwise wait for. Returns at once, however often.

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
        self._own_process = False  # set by start
        self.monitor = monitor
        self.metrics = ServingMetrics()
        self.scheduler = Scheduler(
            run_threads(config),
            stuck_after_s=config.stuck_after_s,
            thread_name=thread_name(config),
            on_stuck=self._on_stuck,
        )
        self._batching = VersionBatching(config, self._platform_of, self.scheduler, self.metrics)
        self._batching.close_when_gone(monitor)
        self.manager = Manager(self._make_loader, self.monitor, config.load, prepare=self._prepare)
        self._source = FileSystemSource(
            self.manager.aspire,
            self._incomplete_reason,
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
        self._router = router = Router(self.manager.acquire, self.configuration.labels)
        self.prediction = PredictionService(
            router, check_method_name=config.enable_signature_method_name_check
        )
        self.models = ModelService(self.monitor, router)

    def start(self, *, own_process: bool) -> None:
        """Begin to find, load and run models. Returns at once."""
        self._own_process = own_process
        # Of platforms that no model has yet, the first load prepares the backend.
        for backend in [self._backend_of(model.platform) for model in self._config.models] or [self._backend]:
            backend.prepare(own_process=own_process)
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

    def batching_of(self, name: str, version: int | None) -> Mapping[str, object]:
        """What the batching of a version does, for JSON; without a version, of the one that requests reach.

        Raises:
            ServingError: The router's refusals.
        """
        with self._router.route(name, version) as handle:
            return self._batching.reports.json(handle.id)

    def is_model(self, name: str) -> bool:
        """Whether a name is that of a model, configured or once loaded. Takes no lock."""
        return self.monitor.knows(name) or self.configuration.platform_of(name) is not None

    def knows(self, name: str, version: int | None) -> bool:
        """Whether a version of a model was ever seen; without a version, any."""
        if version is None:
            return self.monitor.knows(name)
        return self.monitor.state(ServableId(name, version)) is not None

    @property
    def rows_at_once(self) -> int:
        """How many requests of one row models may work on at the same time: runs, times the rows of a batch."""
        rows = max((parameters.max_batch_size for parameters in self._config.all_batching), default=1)
        return self.scheduler.runs_of_a_model * rows

    def serves(self, name: str) -> bool | None:
        """Whether a model can be called; None when there is none of this name. Takes no lock."""
        return bool(self.manager.available_versions(name)) if self.is_model(name) else None

    def model_names(self) -> list[str]:
        """Every model, configured or once loaded, sorted."""
        return sorted({*(model.name for model in self.configuration.in_force.listed), *self.monitor.names()})

    def model_states(self) -> dict[str, str]:
        """What each configured model is up to: `available`, with what is wrong all the same, or why it is not."""
        waiting_for = self._verdict().waiting_for
        stuck = self.scheduler.stuck()
        states: dict[str, str] = {}
        for model in self.configuration.in_force.listed:
            if versions := self.manager.available_versions(model.name):
                runs = {version: stuck.get(ServableId(model.name, version), 0) for version in versions}
                states[model.name] = self._state_of_available(runs)
                continue
            newest = next(iter(self.monitor.versions(model.name)), None)
            if newest is not None and not newest.status.ok:
                states[model.name] = f"version {newest.id.version}: {newest.status}"
            else:
                states[model.name] = waiting_for.get(model.name, "no version available")
        return states

    def _state_of_available(self, stuck_runs: Mapping[int, int]) -> str:
        """What is said of a model with available versions: version → its runs that do not end."""
        most = self.scheduler.runs_of_a_model
        hanging = [f"version {version} has {runs} of {most}" for version, runs in stuck_runs.items() if runs]
        if not hanging:
            return AVAILABLE
        callable_ = any(runs < most for runs in stuck_runs.values())
        return f"{AVAILABLE + ', but ' if callable_ else ''}stuck: {', '.join(hanging)} runs that do not end"

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

    def _on_warm_up_run(self, task: Task, api: str) -> None:
        self.metrics.model_ran(task.handle.id.name, api, task.answered_at - task.submitted_at)

    def _on_stuck(self, id: ServableId, change: int) -> None:
        self.metrics.stuck_runs.add((id.name, str(id.version)), change)

    def _on_replayed(self, replayed: Replayed) -> None:
        labels = (replayed.model_path, str(replayed.status))
        self.metrics.model_warmup_latency.observe(labels, replayed.duration_s * 1e6)
        self.metrics.model_warmup_records_read.add(labels, replayed.records)

    def _verdict(self) -> Verdict:
        return self.configuration.first_results(self._config.load.fail_on_initial_load_error)

    def _make_loader(self, id: ServableId, path: str) -> Loader:
        backend = self._backend_of(self._platform_of(id.name))
        backend.prepare(own_process=self._own_process)
        return MeteredLoader(backend.make_loader(id, path), path, self.metrics)

    def _incomplete_reason(self, platform: str, path: str) -> str | None:
        return self._backend_of(platform).incomplete_reason(path)

    def _backend_of(self, platform: str | None) -> Backend:
        return self._platforms.get(platform or "", self._backend)

    def _platform_of(self, name: str) -> str | None:
        return self.configuration.platform_of(name)

    def _prepare(self, id: ServableId, path: str, servable: Servable) -> None:
        """Between a version's load and AVAILABLE, on the loading thread."""
        batch_sizes = self._batching.open(id, path, servable)
        options = self._config.platform(self._platform_of(id.name))
        warm_up = WarmUp(
            from_file=options.enable_model_warmup,
            iterations=options.num_request_iterations_for_warmup,
            from_signature=self._config.warmup_from_signature,
            check_method_name=self._config.enable_signature_method_name_check,
            run=self.scheduler.run_now,
            on_run=self._on_warm_up_run,
            on_replayed=self._on_replayed,
        )
        if self._config.eas is not None:
            warm_up_by_eas(self._config.eas, id, servable, self.scheduler.run_now)
        warm_up(id, path, servable, batch_sizes)
