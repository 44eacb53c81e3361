"""Ports: free ones, known ones, asked-for ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from headwater.errors import LocalKafkaError
from headwater.local.ports import choose_nodes, is_free
from headwater.local.settings import Node


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_is_listened_on_is_not_free(taken: int) -> None:
    """The look sees a listener."""
    assert not is_free(taken)


def test_every_port_of_a_cluster_is_different_and_free() -> None:
    """Three brokers and three controllers never share a port."""
    nodes = choose_nodes(3)
    ports = [node.port for node in nodes] + [node.controller_port for node in nodes]
    assert len(set(ports)) == 6
    assert all(is_free(port) for port in ports)
    assert [node.id for node in nodes] == [1, 2, 3]


def test_known_ports_are_kept() -> None:
    """A restart finds the cluster where clients left it."""
    before = choose_nodes(3)
    assert choose_nodes(3, known=before) == before


def test_known_ports_that_are_taken_are_replaced(taken: int) -> None:
    """A restart is not stopped by a port that somebody took meanwhile."""
    before = [Node(id=1, port=taken, controller_port=choose_nodes(1)[0].controller_port)]
    (node,) = choose_nodes(1, known=before)
    assert node.port != taken


def test_known_ports_that_must_stay_are_an_error_when_taken(taken: int) -> None:
    """An address that was handed out is never changed silently."""
    before = [Node(id=1, port=taken, controller_port=1)]
    with pytest.raises(LocalKafkaError, match=f"port {taken} .* in use"):
        choose_nodes(1, known=before, keep=True)


def test_an_asked_for_port_is_an_error_when_taken(taken: int) -> None:
    """A port that a person asked for is that port or a message."""
    with pytest.raises(LocalKafkaError, match=f"port {taken} .* in use"):
        choose_nodes(1, first=taken)


def test_a_controller_yields_to_an_asked_for_port() -> None:
    """Asking for the port that a controller had moves the controller."""
    (before,) = choose_nodes(1)
    (now,) = choose_nodes(1, known=[before], first=before.controller_port)
    assert now.port == before.controller_port
    assert now.controller_port != now.port
