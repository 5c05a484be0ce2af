"""More machines than one: batches whose journal is PostgreSQL, and workers on any number of hosts that carry them out.

Needs the extra `distributed` (PgQueuer and asyncpg).
"""

from kling_async.distributed.batch import PostgresBatch
from kling_async.distributed.callbacks import PostgresCallbackStore
from kling_async.distributed.worker import Worker

__all__ = ["PostgresBatch", "PostgresCallbackStore", "Worker"]
