"""A local Apache Kafka, one call away: no Docker, no Maven, no system Java.

::

    from headwater.local import LocalKafka

    with LocalKafka() as kafka:
        ...  # kafka.bootstrap_servers
"""

from headwater.local.brokers import prepare
from headwater.local.cluster import LocalKafka, NodeStatus, Status
from headwater.local.existing import ExistingKafka, kafka_or_existing, running_bootstrap_servers
from headwater.local.jars import VERSION
from headwater.local.paths import cache_dir, data_dir
from headwater.local.settings import SIZES

__all__ = [
    "SIZES",
    "VERSION",
    "ExistingKafka",
    "LocalKafka",
    "NodeStatus",
    "Status",
    "cache_dir",
    "data_dir",
    "kafka_or_existing",
    "prepare",
    "running_bootstrap_servers",
]
