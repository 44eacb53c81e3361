"""What logs of brokers that did not start say, recorded from real ones."""

from __future__ import annotations

import pytest

from headwater.local.diagnose import diagnose

LOGS = {
    "port": (
        "2026-11-22 01:25:49.708 ERROR kafka.server.SharedServer - Exiting\n"
        "org.apache.kafka.common.KafkaException: Socket server failed to bind to 127.0.0.1:9092: "
        "Address already in use.\n"
        "\tat org.apache.kafka.network.SocketServer.openServerSocket(SocketServer.java:1)\n"
        "Caused by: java.net.BindException: Address already in use\n"
    ),
    "another Kafka": (
        "org.apache.kafka.common.KafkaException: Failed to acquire lock on file .lock in /d/node-1."
        " A Kafka instance in another process or thread is using this directory.\n"
    ),
    "disk is full": "java.io.IOException: No space left on device\n",
    "permissions": "java.nio.file.AccessDeniedException: /d/node-1/__cluster_metadata-0\n",
    "another cluster": (
        "java.lang.RuntimeException: Stored node id 7 doesn't match previous node id 1 in /d/x.\n"
    ),
    "damaged": "java.lang.RuntimeException: Error: node ID not found in /d/node-1\n",
    "property": (
        "org.apache.kafka.common.config.ConfigException: Invalid value many for configuration "
        "num.io.threads: Not a number of type INT\n"
    ),
    "too old": "java.lang.UnsupportedClassVersionError: kafka/Kafka has been compiled by\n",
    "memory": "Error occurred during initialization of VM\nCould not reserve enough space for\n",
    "heap of that size": (
        "Error occurred during initialization of VM\n"
        "Initial heap size set to a larger value than the maximum heap size\n"
    ),
    "flags": "Unrecognized VM option 'UseSerialGC'\nError: Could not create the Java Virtual\n",
}


@pytest.mark.parametrize("word", LOGS)
def test_known_reasons_are_named(word: str) -> None:
    """Each known failure gets words that say what to do."""
    assert word in diagnose(LOGS[word], 1).reason


@pytest.mark.parametrize("word", LOGS)
def test_only_a_taken_port_is_worth_another_port(word: str) -> None:
    """No other failure is retried elsewhere."""
    assert diagnose(LOGS[word], 1).port_taken == (word == "port")


def test_an_unknown_reason_shows_the_log() -> None:
    """A failure that nobody foresaw still shows what the broker said last."""
    found = diagnose("2026 WARN x - y\nboom: the end\n\tat a.b(c.java:1)\n", 1)
    assert found.lines == ("boom: the end",)
    assert "exit status 1" in found.reason


def test_a_killed_broker_is_reported_as_killed() -> None:
    """An empty log and a signal: somebody, such as the out-of-memory killer, ended it."""
    assert "signal 9" in diagnose("", -9).reason
