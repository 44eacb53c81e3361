"""The services of compose.yaml as containers, by whichever engine speaks Docker's interface."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

ROOT = Path(__file__).resolve().parent.parent.parent
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
_IMAGE = "localhost/headwater:test"


def engine() -> Any:
    """A client of the container engine; skips the test where none answers."""
    try:
        client = docker.from_env(timeout=1200)
        client.ping()
    except docker.errors.DockerException as error:
        where = os.environ.get("DOCKER_HOST", "its usual place")
        pytest.skip(f"no container engine answers at {where}: {error}")
    # Whatever a test starts, it removes; the reaper's image may be out of reach.
    testcontainers_config.ryuk_disabled = True
    return client


def image(client: Any) -> str:
    """The image: the one that HEADWATER_IMAGE names, or one that is built from the checkout."""
    if named := os.environ.get("HEADWATER_IMAGE"):
        return named
    client.images.build(
        path=str(ROOT),
        dockerfile="compose/Containerfile",
        tag=_IMAGE,
        network_mode="host",
        rm=True,
    )
    return _IMAGE


def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml, with the defaults of its variables."""
    text = (ROOT / "compose" / "compose.yaml").read_text()
    read = yaml.safe_load(_VARIABLE.sub(lambda found: found[2], text))
    found: dict[str, dict[str, Any]] = read["services"]
    return found


class Fleet:
    """Containers on a network of their own."""

    def __init__(self, network: Network, image: str) -> None:
        self._network = network
        self._image = image
        self._all: dict[str, DockerContainer] = {}

    def start(self, service: str, *, name: str = "", arguments: tuple[str, ...] = ()) -> None:
        """Start a service's container, under another name and with more arguments if need be."""
        told = services()[service]
        container = DockerContainer(self._image).with_command([*told["command"], *arguments])
        for variable, value in told["environment"].items():
            container.with_env(variable, str(value))
        container.with_network(self._network).with_network_aliases(name or service)
        container.with_kwargs(
            hostname=told["hostname"],
            cap_drop=told["cap_drop"],
            security_opt=["no-new-privileges"],
        )
        self._all[name or service] = container.start()

    def again(self, service: str) -> None:
        """Start a container that was killed."""
        self._of(service).start()

    def kill(self, service: str) -> None:
        """SIGKILL to what runs in it."""
        self._of(service).kill()

    def is_well(self, service: str) -> bool:
        """What its health check says. One that has ended is started again, as `restart` says."""
        if self.ended(service) is not None:
            self.again(service)
            return False
        test = services()[service]["healthcheck"]["test"]
        return self.run(service, *test[1:])[0] == 0

    def run(self, service: str, *command: str) -> tuple[int, str]:
        """Run something in a container; its exit code and what it said."""
        done = self._of(service).exec_run(list(command))
        return int(done.exit_code or 0), done.output.decode(errors="replace")

    def ended(self, service: str) -> int | None:
        """Its exit code, None while it runs."""
        container = self._of(service)
        container.reload()
        state = container.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def said(self, service: str) -> str:
        """All that it wrote."""
        text: bytes = self._of(service).logs()
        return text.decode(errors="replace")

    def _of(self, service: str) -> Any:
        return self._all[service].get_wrapped_container()

    def close(self) -> None:
        """Remove everything."""
        for container in self._all.values():
            container.stop(force=True)


@contextmanager
def fleet(client: Any) -> Iterator[Fleet]:
    """An empty fleet, whose containers go with the block."""
    made = image(client)
    with Network() as network:
        containers = Fleet(network, made)
        try:
            yield containers
        finally:
            containers.close()


def until(true: Callable[[], bool], timeout_s: float, what: Callable[[], str]) -> None:
    """Wait until ``true()``; fails the test after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not in {timeout_s:g} s: {what()}"
        time.sleep(0.5)
