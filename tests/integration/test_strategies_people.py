"""Failures that reach a person, and how a person gives them back to automation."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consumers.strategies import Context
from consumers.strategies import Result as Outcome
from consumers.strategies.notify import make_notifiers
from consumers.strategies.run import Patience
from headwater import Config
from headwater.cli import cli
from headwater.cli.errors import Exit
from headwater.fleet.records import FailureEvent, FailureType, RecoveryStatus
from headwater.topics import connect_fleet
from tests.support.clusters import Kafka, fresh_config
from tests.support.healing import Detector, failure, healing
from tests.support.processes import eventually, programs

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def config(headwater_kafka: Kafka) -> Config:
    """Topics that the module's tests share."""
    made = fresh_config(headwater_kafka, partitions=2)
    connect_fleet(made)
    return made


@pytest.fixture
def detector(config: Config) -> Iterator[Detector]:
    """Somebody who reports failures."""
    made = Detector(config)
    yield made
    made.close()


class Alertmanager:
    """Takes alerts as Alertmanager does."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        alerts = self.alerts

        class Take(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                good = self.path == "/api/v2/alerts"
                if good:
                    alerts.extend(json.loads(body))
                self.send_response(200 if good else 404)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Take)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def alertmanager() -> Iterator[Alertmanager]:
    """A receiver of alerts."""
    made = Alertmanager()
    yield made
    made.close()


class Stubborn:
    """Succeeds once it is told to."""

    name = "stubborn"
    priority = 1

    def __init__(self) -> None:
        self.helped = False

    def can_handle(self, failure_type: FailureType) -> bool:
        return failure_type is FailureType.TIMEOUT

    def recover(self, reported: FailureEvent, context: Context) -> Outcome:
        context.step("look", lambda _: {"helped": self.helped})
        return Outcome(success=self.helped, message="looked", error="" if self.helped else "broken")


def run(config: Config, *arguments: str) -> Result:
    """A command, with the module's Kafka and topics in its environment."""
    environment = {
        "HEADWATER_BOOTSTRAP_SERVERS": config.bootstrap_servers,
        "HEADWATER_PREFIX": config.prefix,
    }
    return CliRunner().invoke(cli, arguments, env=environment, prog_name="headwater")


def run_json(config: Config, *arguments: str) -> Any:
    """The JSON that a command prints."""
    result = run(config, *arguments, "--json")
    assert result.exit_code == Exit.OK, result.output
    return json.loads(result.stdout)


def test_what_cannot_be_put_right_reaches_a_person_who_gives_it_back(
    config: Config, detector: Detector, alertmanager: Alertmanager, tmp_path: Path
) -> None:
    """With all that was tried; acknowledged, resolved, and then tried and done by automation."""
    heard = tmp_path / "heard"
    code = f"import sys; open({str(heard)!r}, 'a').write(sys.stdin.read() + '\\n')"
    strategy = Stubborn()
    notifiers = make_notifiers([alertmanager.url], [[sys.executable, "-c", code]])
    patience = Patience(attempts=2, first_s=0.05)
    with healing(config, strategy, patience=patience, notifiers=notifiers):
        reported = failure(FailureType.TIMEOUT, "agent:stuck")
        detector.report(reported)
        assert detector.ended(reported).status is RecoveryStatus.ESCALATED
        (alert,) = alertmanager.alerts
        assert alert["labels"]["failure_id"] == reported.failure_id
        assert alert["labels"]["severity"] == "medium"
        assert alert["annotations"]["attempts"] == "2"
        (told,) = map(json.loads, heard.read_text().splitlines())
        assert [t["attempt"] for t in told["tried"]] == [1, 2]
        assert [s["name"] for s in told["tried"][0]["steps"]] == ["1.look"]

        (listed,) = run_json(config, "failures")
        assert listed["failure_id"] == reported.failure_id
        assert (listed["status"], listed["open"]) == ("ESCALATED", True)
        short = reported.failure_id[:12]
        assert short in run(config, "failures").stdout

        # A person has the component: what follows waits for them.
        another = failure(FailureType.TIMEOUT, "agent:stuck")
        detector.report(another)
        done = run_json(config, "acknowledge", short, "--yes", "--reason", "having a look")
        assert (done["status"], done["note"]) == ("ACKNOWLEDGED", "having a look")
        assert detector.status(another.failure_id) is None

        strategy.helped = True
        run_json(config, "resolve", short, "--yes", "--reason", "mended by hand")
        eventually(
            lambda: detector.status(reported.failure_id) is RecoveryStatus.SUCCEEDED,
            20,
            "automation finds it mended",
        )
        assert detector.outcomes[reported.failure_id].attempt == 3
        assert detector.ended(another).status is RecoveryStatus.SUCCEEDED
        eventually(lambda: len(alertmanager.alerts) == 3, 10, "all is told")
        states = [alert["annotations"]["status"] for alert in alertmanager.alerts]
        assert states == ["OPEN", "ACKNOWLEDGED", "RESOLVED"]
        assert not run_json(config, "failures")
        assert len(run_json(config, "failures", "--all")) == 2

    told = run_json(config, "incident", reported.failure_id)
    what = [moment["action"] for moment in told["timeline"]]
    assert what[:3] == ["first.symptom", "recovery.begun", "step.begun"]
    assert what.index("escalated") < what.index("acknowledged") < what.index("resolved")
    assert [m["reason"] for m in told["timeline"] if m["action"] == "resolved"] == [
        "mended by hand"
    ]
    assert told["timeline"][0]["after_ms"] == 0
    text = run(config, "incident", short)
    assert text.exit_code == Exit.OK and "mended by hand" in text.stdout
    assert run(config, "incident", "no-such").exit_code == Exit.NOT_FOUND
    assert run(config, "resolve", another.failure_id, "--yes").exit_code == Exit.NOT_FOUND


def test_a_failure_without_a_strategy_and_a_critical_one_reach_a_person_at_once(
    config: Config, detector: Detector, alertmanager: Alertmanager
) -> None:
    """The critical one is told of while automation is at work, and again when it is done."""

    class Mender(Stubborn):
        name = "mender"

        def can_handle(self, failure_type: FailureType) -> bool:
            return failure_type is FailureType.STATE_CORRUPTION

    strategy = Mender()
    strategy.helped = True
    with healing(config, strategy, notifiers=make_notifiers([alertmanager.url])):
        nobodys = failure(FailureType.DATA_INCONSISTENCY, "agent:nobodys")
        critical = failure(FailureType.STATE_CORRUPTION, "agent:critical")
        detector.report(nobodys, critical)
        assert detector.ended(nobodys).status is RecoveryStatus.ESCALATED
        assert detector.ended(critical).status is RecoveryStatus.SUCCEEDED

        def of(reported: FailureEvent) -> list[str]:
            return sorted(
                alert["annotations"]["status"]
                for alert in alertmanager.alerts
                if alert["labels"]["failure_id"] == reported.failure_id
            )

        eventually(lambda: of(critical) == ["OPEN", "RESOLVED"], 10, "both are told")
        assert of(nobodys) == ["OPEN"]


def test_a_person_who_is_not_reached_is_in_the_audit(config: Config, detector: Detector) -> None:
    """A webhook that nobody serves does not hold anything up, and is not passed over in silence."""
    with healing(config, notifiers=make_notifiers(["http://127.0.0.1:9"])):
        reported = failure(FailureType.TIMEOUT, "agent:unheard")
        detector.report(reported)
        assert detector.ended(reported).status is RecoveryStatus.ESCALATED
    told = run_json(config, "incident", reported.failure_id)["timeline"]
    (failed,) = [moment for moment in told if moment["action"] == "notify.failed"]
    assert "127.0.0.1:9" in failed["message"]


def test_the_command_runs_until_it_is_told_to_end(config: Config, tmp_path: Path) -> None:
    """With every notifier, and all seven strategies."""
    words = [
        "-v",
        "heal",
        "--webhook",
        "http://127.0.0.1:9",
        "--notify-command",
        "cat",
        "--attempts",
    ]
    with programs(config, tmp_path) as started:
        healer = started.start("healer", "headwater", [*words, "2"])
        eventually(lambda: "assigned" in healer.tail(), 60, "it has partitions")
        assert healer.tail().count("data-inconsistency") == 1
        healer.end()
