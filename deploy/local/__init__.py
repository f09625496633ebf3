"""A local Kafka and MongoDB, with or without Docker. Standard library only: it runs before anything is installed.

`python -m deploy.local up` for people; tests take `KafkaServer` and `MongoServer` and do with them as they like.
"""

from deploy.local.kafka import KafkaServer
from deploy.local.mongo import MongoServer
from deploy.local.process import LocalError, free_port
from deploy.local.stack import Stack

__all__ = ["KafkaServer", "LocalError", "MongoServer", "Stack", "free_port"]
