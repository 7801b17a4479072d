"""Reloads as an operator makes them: a real server process, the official stubs, models that come, move and go."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2, prediction_log_pb2

from grpc_calls import Stubs, predict_request, status_request
from pyserve.codec.tf_record import encode_record
from pyserve.inference.warmup_file import PATH_IN_VERSION
from servers import EXAMPLES, ServerProcess

WAIT_S = 40.0
QUICK = [
    "--max_num_load_retries=0",
    "--incomplete_version_wait_s=0.2",
    "--warmup_from_signature=off",
]
TWO, THREE = "half_plus_two", "half_plus_three"


def publish(base: Path, *versions: int, model: str = TWO) -> Path:
    base.mkdir(exist_ok=True)
    for version in versions:
        arriving = base / f"{version}.arriving"
        shutil.copytree(EXAMPLES / model / "1", arriving)
        arriving.rename(base / str(version))
    return base


def entry(
    name: str, base: Path, *versions: int, labels: Mapping[str, int] | None = None, extra: str = ""
) -> str:
    """One model; without versions the policy is the default one."""
    policy = "".join(f"versions: {version} " for version in versions)
    policy = f"model_version_policy {{ specific {{ {policy} }} }}" if policy else ""
    bound = "".join(
        f'version_labels {{ key: "{label}" value: {version} }} ' for label, version in (labels or {}).items()
    )
    return f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {policy} {bound} {extra} }}'


def config(*entries: str) -> str:
    return "model_config_list { " + "\n".join(entries) + " }"


class Operator:
    """What an operator and a client do with a server."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.stubs = Stubs(server.grpc_port)

    def reload(self, *entries: str, timeout: float = WAIT_S, metrics: Sequence[str] = ()) -> Any:
        request = model_management_pb2.ReloadConfigRequest(metric_names=metrics)
        text_format.Parse(config(*entries), request.config)
        return self.stubs.model.HandleReloadConfigRequest(request, timeout=timeout)

    def refused(self, *entries: str, timeout: float = WAIT_S) -> tuple[str, str, float]:
        """Code, text, and seconds until the answer."""
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            self.reload(*entries, timeout=timeout)
        return caught.value.code().name, caught.value.details(), time.monotonic() - began

    def ask(self, name: str, **spec: Any) -> tuple[int, float]:
        """(version that answered, half_plus_n of 2.0)."""
        request = predict_request(name, {"x": {"dtype": 1, "shape": [1], "float_val": [2.0]}}, **spec)
        response = self.stubs.prediction.Predict(request, timeout=WAIT_S)
        return response.model_spec.version.value, response.outputs["y"].float_val[0]

    def code(self, name: str, **spec: Any) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            self.ask(name, **spec)
        return str(caught.value.code().name)

    def states(self, name: str) -> dict[int, int]:
        response = self.stubs.model.GetModelStatus(status_request(name), timeout=WAIT_S)
        return {status.version: status.state for status in response.model_version_status}


AVAILABLE, END = 30, 50


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    """A server that was started with an empty configuration."""
    empty = ["--model_config_file=/dev/null", *QUICK]
    with ServerProcess(empty) as server:
        operator = Operator(server)
        with operator.stubs:
            yield operator


class Load:
    """Clients that call without a pause; every failure counts."""

    def __init__(self, operator: Operator, clients: int, calls: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self._operator = operator
        self._calls = calls
        self._over = threading.Event()
        self.failures: list[str] = []
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self) -> None:
        while not self._over.is_set():
            for name, spec in self._calls:
                try:
                    version, _ = self._operator.ask(name, **spec)
                    self.answers[name, spec.get("label", ""), version] += 1
                except Exception as error:
                    self.failures.append(f"{name} {spec}: {error}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(WAIT_S)


def test_two_models_three_versions_labels_forth_and_back(operator: Operator, tmp_path: Path) -> None:
    """Labels move between versions under load, also to a version loaded by the same reload, and no call fails."""
    a = publish(tmp_path / "a", 1, 2, 3)
    b = publish(tmp_path / "b", 1, 2, 3, model=THREE)
    assert operator.code("a", label="stable") in ("UNAVAILABLE", "INVALID_ARGUMENT")
    operator.reload(
        entry("a", a, 1, 2, labels={"stable": 1, "canary": 2}), entry("b", b, 1, labels={"stable": 1})
    )
    assert operator.ask("a", label="stable") == (1, 3.0)
    assert operator.ask("b", label="stable") == (1, 4.0)
    labelled = [("a", {"label": "stable"}), ("a", {"label": "canary"}), ("b", {"label": "stable"}), ("b", {})]
    moves: list[tuple[tuple[int, ...], int, int, int]] = [
        ((2, 3), 2, 3, 2),  # versions of a, stable, canary; version of b
        ((1, 2), 1, 2, 3),
        ((3,), 3, 3, 1),
        ((1, 3), 1, 3, 2),  # to a smaller number
    ]
    with Load(operator, 2, labelled) as load:
        for versions, stable, canary, of_b in moves:
            response = operator.reload(
                entry("a", a, *versions, labels={"stable": stable, "canary": canary}),
                entry("b", b, of_b, labels={"stable": of_b}),
            )
            assert response.status.error_code == 0
            assert operator.ask("a", label="stable")[0] == stable
            assert operator.ask("a", label="canary")[0] == canary
            assert operator.ask("b", label="stable")[0] == of_b
    assert load.failures == []
    assert operator.states("a") == {3: AVAILABLE, 2: END, 1: AVAILABLE}


def test_every_policy_at_run_time_and_back_to_a_smaller_number(operator: Operator, tmp_path: Path) -> None:
    """specific, all, latest and none follow each other; a roll-back loads the smaller number, then drops the larger."""
    a = publish(tmp_path / "p", 1, 2, 3)

    def policy(text: str) -> str:
        return entry("p", a, extra=f"model_version_policy {{ {text} }}" if text else "")

    def serving() -> set[int]:
        return {version for version, state in operator.states("p").items() if state == AVAILABLE}

    operator.reload(policy("specific { versions: 3 }"))
    for text, expected in [
        ("specific { versions: 1 }", {1}),
        ("all {}", {1, 2, 3}),
        ("latest { num_versions: 2 }", {2, 3}),
        ("", {3}),
        ("specific { versions: 2 }", {2}),
        ("specific {}", set()),
        ("specific { versions: 2 }", {2}),
    ]:
        operator.reload(policy(text))
        until(lambda expected=expected: serving() == expected)  # type: ignore[misc]


def test_models_come_and_go_and_the_base_path_moves(operator: Operator, tmp_path: Path) -> None:
    """A removed model ends and stays visible, comes back when added again; a moved one keeps numbers it has."""
    a, b = publish(tmp_path / "a2", 1, 2), publish(tmp_path / "b2", 1)
    moved = publish(tmp_path / "moved", 2, 3, model=THREE)
    both = "model_version_policy { all {} }"
    with Load(operator, 2, [("a2", {"version": 2})]) as load:
        operator.reload(entry("a2", a, extra=both))
        load.failures.clear()  # of the time before
        for _ in range(3):
            operator.reload(entry("a2", a, extra=both), entry("b2", b))
            assert operator.ask("b2") == (1, 3.0)
            operator.reload(entry("a2", a, extra=both))
            until(lambda: operator.states("b2") == {1: END})
            assert operator.code("b2") == "NOT_FOUND"
        operator.reload(entry("a2", moved, extra=both))
        until(lambda: operator.states("a2") == {3: AVAILABLE, 2: AVAILABLE, 1: END})
    assert load.failures == []
    assert operator.ask("a2", version=2) == (2, 3.0)  # still from the old path
    assert operator.ask("a2", version=3) == (3, 4.0)
    operator.reload()
    until(lambda: set(operator.states("a2").values()) == {END})


def test_what_is_refused_is_refused_at_once(operator: Operator, tmp_path: Path) -> None:
    """A missing folder, a version that is nowhere, another platform: an answer at once, and everything as before."""
    a = publish(tmp_path / "a3", 1)
    good = entry("a3", a, labels={"stable": 1})
    operator.reload(good)
    gone = tmp_path / "gone"
    for entries, code, text in [
        ([good, entry("n", gone)], "NOT_FOUND", f"Could not find base path {gone} for servable n"),
        (
            [entry("a3", a, labels={"stable": 9})],
            "FAILED_PRECONDITION",
            "Request to assign label to version 9 of model a3, which is not currently available for inference",
        ),
        ([entry("a3", Path("rel"))], "INVALID_ARGUMENT", "Expected model a3 to have an absolute path or URI"),
        ([good, good], "INVALID_ARGUMENT", "Illegal to list model a3 multiple times in config list"),
        (
            [entry("a3", a, extra="logging_config {}")],
            "INVALID_ARGUMENT",
            "No request-logger-creator provided.",
        ),
        (
            [f'config {{ name: "a3" base_path: "{a}" model_platform: "caffe" }}'],
            "INVALID_ARGUMENT",
            "Model a3 requests unsupported platform caffe",
        ),
    ]:
        found_code, found_text, seconds = operator.refused(*entries)
        assert (found_code, found_text[: len(text)]) == (code, text)
        assert seconds < 5.0
        assert operator.ask("a3", label="stable") == (1, 3.0)
    assert "ReloadConfig failed: No request-logger-creator provided." in operator.server.log
    request = model_management_pb2.ReloadConfigRequest()
    with pytest.raises(grpc.RpcError) as caught:
        operator.stubs.model.HandleReloadConfigRequest(request, timeout=WAIT_S)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Only ModelConfigList is currently supported" in caught.value.details()


def test_a_broken_new_version_is_reported_while_the_old_one_serves(
    operator: Operator, tmp_path: Path
) -> None:
    """Load failures are told in TensorFlow Serving's words and not rolled back; the label stays where it serves."""
    a = publish(tmp_path / "a4", 1)
    broken = tmp_path / "broken"
    for base in (a / "2", broken / "1"):
        base.mkdir(parents=True)
        (base / "saved_model.pb").write_bytes(b"no SavedModel at all")
    operator.reload(entry("a4", a, 1, labels={"stable": 1}))
    code, broken_text, _ = operator.refused(entry("a4", a, 2, labels={"stable": 2}))
    assert code == "UNKNOWN"
    assert broken_text.startswith(
        "1 model(s) did not become available: {{{name: a4 version: 2} due to error: "
    )
    assert operator.ask("a4", label="stable") == (1, 3.0)
    response = operator.stubs.model.GetModelStatus(status_request("a4", version=2), timeout=WAIT_S)
    (status,) = response.model_version_status
    assert (status.state, status.status.error_code != 0) == (END, True)
    assert status.status.error_message
    assert status.status.error_message in broken_text
    code, text, _ = operator.refused(entry("a4", a, 1), entry("broken", broken))
    assert (code, text[:37]) == ("UNKNOWN", "1 model(s) did not become available: ")
    assert operator.ask("a4") == (1, 3.0)


def test_the_wait_is_the_callers_alone(operator: Operator, tmp_path: Path) -> None:
    """A reload that waits for a model without versions ends with its deadline, and delays no other reload."""
    empty = tmp_path / "empty"
    empty.mkdir()
    a = publish(tmp_path / "a5", 1)
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config(entry("empty", empty)), request.config)
    waiting = operator.stubs.model.HandleReloadConfigRequest.future(request, timeout=WAIT_S)
    until(lambda: "No versions of servable empty found" in operator.server.log)
    began = time.monotonic()
    operator.reload(entry("empty", empty), entry("a5", a))
    assert time.monotonic() - began < 20.0
    assert not waiting.done()
    publish(empty, 1)
    assert waiting.result(timeout=WAIT_S).status.error_code == 0
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    code, _, seconds = operator.refused(entry("a5", a), entry("nothing", nothing), timeout=1.0)
    assert (code, seconds < 10.0) == ("DEADLINE_EXCEEDED", True)
    assert operator.ask("a5") == (1, 3.0)


def test_callers_who_go_away_make_room(operator: Operator, tmp_path: Path) -> None:
    """More waiting reloads than there is room for are refused; cancelled ones stop waiting and make room again."""
    empty = tmp_path / "empty8"
    empty.mkdir()
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config(entry("empty8", empty)), request.config)
    call = operator.stubs.model.HandleReloadConfigRequest
    # Each call adds one more model, and waits for it.
    waiting = []
    for number in range(16):
        base = tmp_path / f"empty8_{number}"
        base.mkdir()
        request.config.model_config_list.config.add(
            name=f"e{number}", base_path=str(base), model_platform="tensorflow"
        )
        waiting.append(call.future(request, timeout=WAIT_S))
        operator.server.wait_for_log(f"No versions of servable e{number} found")
    code, text, _ = operator.refused(entry("empty8", empty))
    assert (code, text) == ("RESOURCE_EXHAUSTED", "16 requests of this kind are waiting already")
    for future in waiting:
        future.cancel()

    def there_is_room() -> bool:
        try:
            operator.reload()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return False
        return True

    until(there_is_room)


def test_metrics_are_answered(operator: Operator, tmp_path: Path) -> None:
    """Every metric asked about is in the answer, once; one that is unknown has not changed."""
    a = publish(tmp_path / "a6", 1)
    response = operator.reload(entry("a6", a), metrics=["/tensorflow/nope", "/tensorflow/nope"])
    assert [(metric.name, metric.int64_value_increase) for metric in response.metric] == [
        ("/tensorflow/nope", 0)
    ]


def test_fifty_reloads_in_a_row_lose_no_request(operator: Operator, tmp_path: Path) -> None:
    """Eight clients call through fifty reloads that move versions, labels and other models: nobody notices."""
    a = publish(tmp_path / "a7", 1, 2)
    b = publish(tmp_path / "b7", 1)
    operator.reload(entry("a7", a, 1, labels={"stable": 1}))
    with Load(operator, 8, [("a7", {}), ("a7", {"label": "stable"})]) as load:
        for number in range(50):
            version = 1 + (number + 1) % 2
            others = [entry("b7", b)] if number % 3 else []
            operator.reload(entry("a7", a, version, labels={"stable": version}), *others)
    assert load.failures == []
    assert sum(load.answers.values()) > 100
    assert {key[2] for key in load.answers if key[1] == "stable"} == {1, 2}


def test_the_config_file_is_read_again(tmp_path: Path) -> None:
    """Changes of the file take effect, mistakes leave everything as it is, and a correction is read at once."""
    a, b = publish(tmp_path / "a", 1), publish(tmp_path / "b", 1)
    file = tmp_path / "models.config"

    def write(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(file)

    write(config(entry("a", a, labels={"stable": 1}, extra="logging_config {}")))
    arguments = [f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1", *QUICK]
    with ServerProcess(arguments) as server, Stubs(server.grpc_port) as stubs:
        operator = Operator(server)
        assert "No request-logger-creator provided. Model a is served" in server.log
        assert operator.ask("a", label="stable") == (1, 3.0)
        write(config(entry("a", a, extra="logging_config {}"), entry("b", b)))
        until(lambda: "Successfully loaded servable version {name: b version: 1}" in server.log)
        assert operator.ask("b") == (1, 3.0)
        write("model_config_list { config { nonsense } }")
        server.wait_for_log("Failed to read ModelServerConfig file: Invalid protobuf file: ")
        write("")
        server.wait_for_log("PollFilesystemAndReloadConfig failed to ReloadConfig: Cannot transition to")
        file.unlink()
        server.wait_for_log(f"Failed to read ModelServerConfig file: {file}; No such file or directory")
        assert operator.ask("a") == (1, 3.0)
        empty = tmp_path / "empty"
        empty.mkdir()
        write(config(entry("b", b), entry("empty", empty)))  # never becomes available
        server.wait_for_log("No versions of servable empty found")
        write(config(entry("b", b)))
        until(lambda: operator.states("a") == {1: END})
        operator.stubs.channel.close()
        del stubs


def test_without_a_period_the_file_is_never_read_again(tmp_path: Path) -> None:
    """--model_config_file_poll_wait_seconds=0: a change on disk changes nothing."""
    a, b = publish(tmp_path / "a", 1), publish(tmp_path / "b", 1)
    file = tmp_path / "models.config"
    file.write_text(config(entry("a", a)))
    with ServerProcess([f"--model_config_file={file}", *QUICK], rest=False) as server:
        with Stubs(server.grpc_port) as stubs:
            file.write_text(config(entry("a", a), entry("b", b)))
            publish(a, 2)
            until(
                lambda: (
                    2
                    in {
                        status.version
                        for status in stubs.model.GetModelStatus(
                            status_request("a"), timeout=WAIT_S
                        ).model_version_status
                    }
                )
            )
            with pytest.raises(grpc.RpcError) as caught:
                stubs.model.GetModelStatus(status_request("b"), timeout=WAIT_S)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 15.0


def test_a_waiting_reload_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """SIGTERM ends the server at once although somebody waits for a model that never comes."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with ServerProcess(["--model_config_file=/dev/null", *QUICK], rest=False) as server:
        stubs = Stubs(server.grpc_port)
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(config(entry("empty", empty)), request.config)
        waiting = stubs.model.HandleReloadConfigRequest.future(request, timeout=WAIT_S)
        server.wait_for_log("No versions of servable empty found")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10.0
        assert waiting.code() is grpc.StatusCode.UNAVAILABLE
        assert waiting.details() == "The server is shutting down"
        stubs.channel.close()


def test_labels_for_unavailable_models(tmp_path: Path) -> None:
    """With the flag a new label may name any version; moving it to one that is not to be had is refused."""
    a = publish(tmp_path / "a", 1)
    arguments = ["--model_config_file=/dev/null", "--allow_version_labels_for_unavailable_models", *QUICK]
    with ServerProcess(arguments) as server:
        operator = Operator(server)
        with operator.stubs:
            counted = "/tensorflow/cc/saved_model/load_attempt_count"
            response = operator.reload(entry("a", a, labels={"next": 9}), metrics=[counted])
            assert [(m.name, m.int64_value_increase) for m in response.metric] == [(counted, 1)]
            assert operator.code("a", label="next") == "NOT_FOUND"
            assert operator.refused(entry("a", a, labels={"next": 8}))[0] == "FAILED_PRECONDITION"
            publish(a, 9)
            until(lambda: operator.states("a") == {9: AVAILABLE, 1: END})
            assert operator.ask("a", label="next") == (9, 3.0)


def test_a_platform_config_file(tmp_path: Path) -> None:
    """Models of a platform are loaded as the file says: tags, the kind of model, and warm-up are its own."""
    a = publish(tmp_path / "a", 1)
    (a / "1" / "model.tflite").write_bytes(b"cut")
    counter = shutil.copytree(EXAMPLES / "tf1_counter", tmp_path / "counter")
    recorded = counter / "1" / PATH_IN_VERSION
    recorded.parent.mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request("counter", {}, signature_name="incr_counter"))
    recorded.write_bytes(encode_record(log.SerializeToString()))
    adapter = "type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig"
    platforms = "".join(
        f'platform_configs {{ key: "{name}" value {{ source_adapter_config {{ [{adapter}] '
        f"{{ legacy_config {{ {text} }} }} }} }} }}\n"
        for name, text in {
            "plain": "",
            "odd": 'saved_model_tags: "nobody"',
            "lite": "prefer_tflite_model: true",
            "warm": "enable_model_warmup: true model_warmup_options { num_request_iterations { value: 3 } }",
        }.items()
    )
    (tmp_path / "platforms").write_text(platforms)
    (tmp_path / "models").write_text(config(entry("a", a).replace('"tensorflow"', '"plain"')))
    arguments = [
        f"--model_config_file={tmp_path}/models",
        f"--platform_config_file={tmp_path}/platforms",
        *QUICK,
    ]
    with ServerProcess(arguments) as server:
        operator = Operator(server)
        with operator.stubs:
            assert operator.ask("a") == (1, 3.0)
            plain, odd, lite = (
                entry(name, a).replace('"tensorflow"', f'"{p}"')
                for name, p in (("a", "plain"), ("o", "odd"), ("l", "lite"))
            )
            code, text, _ = operator.refused(plain, odd)
            assert code == "UNKNOWN"
            assert "Could not find meta graph def matching supplied tags: { nobody }" in text
            code, text, _ = operator.refused(plain, lite)
            assert code == "UNKNOWN"
            assert "{name: l version: 1} due to error: " in text
            assert "Servable version {name: l version: 1} is not complete yet: model.tflite " in server.log
            assert "Servable version {name: a version: 1} is not complete" not in server.log
            for platform, count in (("warm", 3.0), ("plain", 0.0)):
                operator.reload(plain, entry(platform, counter).replace('"tensorflow"', f'"{platform}"'))
                request = predict_request(platform, {}, signature_name="get_counter")
                answer = operator.stubs.prediction.Predict(request, timeout=WAIT_S)
                assert list(answer.outputs["output"].float_val) == [count]
            changed = entry("a", a).replace('"tensorflow"', '"odd"')
            code, text, _ = operator.refused(changed)
            assert (code, text) == (
                "INVALID_ARGUMENT",
                "Illegal to change a model's platform. For model a platform was plain and new platform requested "
                "is odd",
            )
