"""A local Kafka and MongoDB, with or without Docker. Standard library only: it runs before anything is installed.

People use `python -m deploy.local up`; tests use `KafkaServer` and `MongoServer` directly.
"""

from deploy.local.kafka import KafkaServer
from deploy.local.mongo import MongoServer
from deploy.local.process import LocalError, free_port
from deploy.local.stack import Stack

__all__ = ["KafkaServer", "LocalError", "MongoServer", "Stack", "free_port"]
