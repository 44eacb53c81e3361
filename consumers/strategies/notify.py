"""Ways to reach a person: the log, a command, and a webhook that Alertmanager understands."""

from __future__ import annotations

import json
import logging
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from headwater.errors import ConfigError, Unavailable
from headwater.fleet.records import Escalation, EscalationStatus

log = logging.getLogger("headwater.strategies")

_TIMEOUT_S = 10.0
_ALERTS = "/api/v2/alerts"
# An alert that is not told to end by then ends by itself; it is told again long before.
_LASTS = timedelta(hours=1)


class Notifier(Protocol):
    """Tells a person of an escalation, and that it is over once its status is RESOLVED.

    May be told the same again. Raises Headwater's errors where nobody could be reached.
    """

    @property
    def name(self) -> str:
        """How the audit calls it."""
        ...

    @property
    def repeats(self) -> bool:
        """Whether it has to be told again of what stays open."""
        ...

    def notify(self, escalation: Escalation) -> None:
        """Tell of an escalation as it is now."""
        ...


class LogNotifier:
    """Says it in this process's log."""

    name = "log"
    repeats = False

    def notify(self, escalation: Escalation) -> None:
        """Log a line: an error while it is open."""
        over = escalation.status is EscalationStatus.RESOLVED
        log.log(
            logging.INFO if over else logging.ERROR,
            "escalation %s: %s of %s (%s): %s [headwater incident %s]",
            escalation.status, escalation.type, escalation.component, escalation.severity,
            escalation.message, escalation.failure_id,
        )  # fmt: skip


class CommandNotifier:
    """Runs a command with the escalation as JSON on its standard input."""

    repeats = False

    def __init__(self, command: Sequence[str]) -> None:
        self.name = f"command {command[0]}"
        self._command = list(command)

    def notify(self, escalation: Escalation) -> None:
        """Run it, for ten seconds at most; raises :class:`Unavailable` where it fails."""
        try:
            done = subprocess.run(
                self._command,
                input=json.dumps(escalation_json(escalation)).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{self.name}: {error}") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-500:]
            raise Unavailable(f"{self.name} ended with {done.returncode}: {said}")


class WebhookNotifier:
    """Posts to Alertmanager's ``/api/v2/alerts``, or to whatever takes the same JSON array.

    An address without a path is that of an Alertmanager.
    """

    repeats = True

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("a webhook's address begins with http:// or https:// and a host")
        place = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self.name = f"webhook {urlunsplit(place)}"
        self._url = urlunsplit(place if parts.path.strip("/") else place._replace(path=_ALERTS))
        self._headers = {"Content-Type": "application/json"}
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(secret).decode()}"

    def notify(self, escalation: Escalation) -> None:
        """Post one alert; raises :class:`Unavailable` where it is not taken."""
        request = urllib.request.Request(
            self._url,
            data=json.dumps([alert(escalation, datetime.now(UTC))]).encode(),
            headers=self._headers,
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
                pass
        except (OSError, HTTPException) as error:
            raise Unavailable(f"{self.name}: {error}") from error


def alert(escalation: Escalation, now: datetime) -> dict[str, Any]:
    """An alert as Alertmanager's API (v2) takes it; the same labels for the same escalation."""
    over = escalation.status is EscalationStatus.RESOLVED
    opened = datetime.fromtimestamp(escalation.opened_at / 1000, UTC)
    return {
        "labels": {
            "alertname": "HeadwaterEscalation",
            "failure_id": escalation.failure_id,
            "type": escalation.type.value,
            "severity": escalation.severity.value.lower(),
            "component": escalation.component,
        },
        "annotations": {
            "summary": f"{escalation.type} of {escalation.component}",
            "description": escalation.message,
            "status": escalation.status.value,
            "attempts": str(len(escalation.tried)),
            "command": f"headwater incident {escalation.failure_id}",
        },
        "startsAt": opened.isoformat(),
        "endsAt": (now if over else now + _LASTS).isoformat(),
    }


def escalation_json(escalation: Escalation) -> dict[str, Any]:
    """An escalation as commands print it, ``tried`` as a list."""
    return {**escalation.to_record(), "tried": escalation.tried}


def make_notifiers(
    webhooks: Sequence[str] = (), commands: Sequence[Sequence[str]] = ()
) -> list[Notifier]:
    """The log, and whatever else is given."""
    return [
        LogNotifier(),
        *(WebhookNotifier(url) for url in webhooks),
        *(CommandNotifier(command) for command in commands),
    ]
