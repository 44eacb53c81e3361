"""Broker settings: what one and three brokers get, and the file's escapes."""

from __future__ import annotations

import pytest

from headwater.local.settings import Node, render, server_properties


def nodes(count: int) -> list[Node]:
    """A cluster's nodes."""
    return [Node(id=i, port=9000 + i, controller_port=9100 + i) for i in range(1, count + 1)]


def test_one_broker_keeps_one_copy() -> None:
    """A single broker asks for no replica that it could never have."""
    (node,) = nodes(1)
    settings = server_properties(node, [node], "/data", {})
    for name in (
        "default.replication.factor",
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "share.coordinator.state.topic.replication.factor",
    ):
        assert settings[name] == "1"


def test_three_brokers_keep_three_copies_and_write_two() -> None:
    """Three brokers survive the loss of one without losing an acknowledged record."""
    three = nodes(3)
    settings = server_properties(three[1], three, "/data", {})
    assert settings["default.replication.factor"] == "3"
    assert settings["min.insync.replicas"] == "2"
    assert settings["node.id"] == "2"
    assert settings["controller.quorum.voters"] == (
        "1@127.0.0.1:9101,2@127.0.0.1:9102,3@127.0.0.1:9103"
    )


@pytest.mark.parametrize("count", [1, 3])
def test_brokers_listen_on_the_loopback_interface_only(count: int) -> None:
    """No listener may be reachable from another machine."""
    for node in nodes(count):
        settings = server_properties(node, nodes(count), "/data", {})
        for listener in settings["listeners"].split(","):
            assert "://127.0.0.1:" in listener


def test_brokers_listen_where_they_are_told() -> None:
    """On another address all listeners move there, and clients are told of it."""
    node = Node(id=1, port=9001, controller_port=9101, host="10.0.0.1")
    settings = server_properties(node, [node], "/data", {})
    assert settings["listeners"] == "PLAINTEXT://10.0.0.1:9001,CONTROLLER://10.0.0.1:9101"
    assert settings["advertised.listeners"] == "PLAINTEXT://10.0.0.1:9001"
    assert settings["controller.quorum.voters"] == "1@10.0.0.1:9101"


def test_brokers_advertise_what_stands_before_them() -> None:
    """Behind a proxy, clients are told of the proxy, and the broker listens where it did."""
    node = Node(id=1, port=9001, controller_port=9101, advertised="127.0.0.1:7001")
    settings = server_properties(node, [node], "/data", {})
    assert settings["advertised.listeners"] == "PLAINTEXT://127.0.0.1:7001"
    assert settings["listeners"].startswith("PLAINTEXT://127.0.0.1:9001,")
    assert node.address == "127.0.0.1:7001"


@pytest.mark.parametrize("count", [1, 3])
def test_topics_are_never_made_by_accident(count: int) -> None:
    """A mistyped topic name is an error, not a new topic."""
    settings = server_properties(nodes(count)[0], nodes(count), "/data", {})
    assert settings["auto.create.topics.enable"] == "false"


def test_overrides_win() -> None:
    """What the caller asks for replaces what Headwater would set."""
    (node,) = nodes(1)
    settings = server_properties(node, [node], "/data", {"num.io.threads": "7", "x": "y"})
    assert settings["num.io.threads"] == "7"
    assert settings["x"] == "y"


def test_rendering_escapes_what_java_would_misread() -> None:
    """Backslashes, line ends and characters outside Latin-1 survive a properties file."""
    assert render({"log.dirs": "/tmp/a\\b\nc é😀"}) == (
        "log.dirs=/tmp/a\\\\b\\nc \\u00e9\\ud83d\\ude00\n"
    )
