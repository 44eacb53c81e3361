"""Configuration: layers, conversions, secrets."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from headwater import Config, ConfigError
from headwater.kafka import clients


def test_environment_overrides_file_and_arguments_override_both(tmp_path: Path) -> None:
    """File, then environment, then arguments; librdkafka's properties are merged."""
    file = tmp_path / "headwater.toml"
    file.write_text(
        'bootstrap_servers = "file:1"\nprefix = "f."\nsend_timeout = 7\n'
        '[kafka]\n"security.protocol" = "SSL"\n"sasl.username" = "file"\n'
    )
    config = Config.load(
        {
            "HEADWATER_CONFIG": str(file),
            "HEADWATER_BOOTSTRAP_SERVERS": "env:1",
            "HEADWATER_MAX_STATE_BYTES": "5000",
            "HEADWATER_KAFKA_SASL_USERNAME": "env",
        },
        prefix="arg.",
    )
    assert (config.bootstrap_servers, config.prefix) == ("env:1", "arg.")
    assert config.send_timeout == timedelta(seconds=7)
    assert config.max_state_bytes == 5000
    assert config.kafka == {"security.protocol": "SSL", "sasl.username": "env"}


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"HEADWATER_PROFILE": "warp"}, "profile"),
        ({"HEADWATER_PARTITIONS": "many"}, "partitions"),
        ({"HEADWATER_PARTITIONS": "0"}, "partitions"),
        ({"HEADWATER_SEND_TIMEOUT": "-1"}, "send_timeout"),
        ({"HEADWATER_CONFIG": "/nowhere/headwater.toml"}, "headwater.toml"),
        ({"HEADWATER_CREATE_TOPICS": "perhaps"}, "create_topics"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], says: str) -> None:
    """The message says which setting is wrong."""
    with pytest.raises(ConfigError, match=says):
        Config.load({"HEADWATER_BOOTSTRAP_SERVERS": "x:1", **environ})


def test_an_unknown_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    """A typing error is not passed over."""
    file = tmp_path / "headwater.toml"
    file.write_text('bootstrap = "x"\n')
    with pytest.raises(ConfigError, match="bootstrap"):
        Config.load({"HEADWATER_CONFIG": str(file)})


def test_secrets_are_not_shown() -> None:
    """A configuration can be logged."""
    config = Config(
        bootstrap_servers="x:1",
        kafka={"sasl.password": "hunter2", "sasl.username": "me", "ssl.key.password": "pem"},
    )
    assert "hunter2" not in repr(config) and "pem" not in repr(config) and "me" in repr(config)


def test_properties_that_guarantees_rest_on_are_reserved() -> None:
    """Acks and the like cannot be weakened from outside."""
    with pytest.raises(ConfigError, match="acks"):
        clients.producer(Config(bootstrap_servers="x:1", kafka={"acks": "1"}))
    with pytest.raises(ConfigError):
        clients.producer(Config(bootstrap_servers="x:1", kafka={"no.such.property": "1"}))


def test_the_password_in_the_address_of_a_tier_is_not_shown() -> None:
    """Whatever it is made of; the rest of the address is."""
    url = "postgresql://me:s:e/c@ret@host/db"
    config = Config(bootstrap_servers="b:1", backup=url, replica="s3://bucket/a")
    assert "backup='postgresql://me:***@host/db'" in repr(config)
    assert "replica='s3://bucket/a'" in repr(config)
    assert config.backup == url
