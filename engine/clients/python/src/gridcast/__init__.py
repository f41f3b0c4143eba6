"""The asyncio client of gridcast. Owns the names that programs use."""

from gridcast.client import Client
from gridcast.clock import Clock
from gridcast.errors import (
    ClosedError,
    CommandError,
    GridcastError,
    HttpError,
    MaybePublishedError,
    NotConnectedError,
    RefusedError,
)
from gridcast.history import Record
from gridcast.http import BatchReply
from gridcast.items import Gap, Item, Message, Position, Published, Restarted, Resumed
from gridcast.state import State
from gridcast.subscription import Subscription

__all__ = [
    "BatchReply",
    "Client",
    "Clock",
    "ClosedError",
    "CommandError",
    "Gap",
    "GridcastError",
    "HttpError",
    "Item",
    "MaybePublishedError",
    "Message",
    "NotConnectedError",
    "Position",
    "Published",
    "Record",
    "RefusedError",
    "Restarted",
    "Resumed",
    "State",
    "Subscription",
]
