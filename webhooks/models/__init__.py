from webhooks.models.inbox import (
    CLOCK_TOLERANCE,
    LONGEST_PAUSE,
    OTHER,
    TIME_OF_RECEIPT,
    DuplicateDelivery,
    InboxQuerySet,
    InboxUpdate,
    Replay,
    ReplayRefused,
    State,
    display_type,
)
from webhooks.models.payload_access import PayloadAccess
from webhooks.models.refused_update_type import RefusedUpdateType

__all__ = [
    "CLOCK_TOLERANCE", "LONGEST_PAUSE", "OTHER", "TIME_OF_RECEIPT", "DuplicateDelivery", "InboxQuerySet", "InboxUpdate",
    "PayloadAccess", "RefusedUpdateType", "Replay", "ReplayRefused", "State", "display_type",
]  # fmt: skip
