"""librdkafka's settings of security, as Faust's client takes them."""

from __future__ import annotations

import ssl
from typing import Any

import faust

from headwater.config import Config
from headwater.errors import ConfigError

_SASL = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def credentials(config: Config) -> Any | None:
    """How to log in, from the properties of ``config.kafka``; None where nothing is asked for.

    Raises :class:`ConfigError` for a way that this client does not know.
    """
    has = config.kafka
    protocol = str(has.get("security.protocol", "plaintext")).upper()
    context = _context(config) if protocol.endswith("SSL") else None
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context)
    mechanism = str(has.get("sasl.mechanisms", has.get("sasl.mechanism", "PLAIN"))).upper()
    if mechanism not in _SASL or not protocol.startswith("SASL_"):
        raise ConfigError(
            f"insights cannot log in with {protocol} and {mechanism}: it knows SSL, and SASL with "
            f"{', '.join(_SASL)}"
        )
    return faust.SASLCredentials(
        username=str(has.get("sasl.username", "")),
        password=str(has.get("sasl.password", "")),
        ssl_context=context,
        mechanism=mechanism,
    )


def _context(config: Config) -> ssl.SSLContext:
    has = config.kafka
    context = ssl.create_default_context(cafile=has.get("ssl.ca.location"))
    if certificate := has.get("ssl.certificate.location"):
        context.load_cert_chain(
            certificate, has.get("ssl.key.location"), has.get("ssl.key.password")
        )
    if has.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    return context
