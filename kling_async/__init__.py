"""The asyncio SDK for extending Kling videos."""

from kling_async.client import KlingClient
from kling_async.credentials import AccessKey, ApiKey
from kling_async.errors import (
    AccountError,
    AddressNotAllowed,
    APIError,
    AuthenticationError,
    ClientClosed,
    ConcurrencyLimited,
    ConfigurationError,
    ContentRejected,
    CreateUncertain,
    DownloadError,
    InvalidRequest,
    JournalError,
    KlingError,
    MalformedResponse,
    NotFound,
    RateLimited,
    RequestError,
    ServerError,
    TransportError,
    UnknownCode,
    WebhookError,
)
from kling_async.extensions import VideoExtend
from kling_async.models import (
    NoVideo,
    Page,
    ResourcePack,
    Task,
    TaskFailed,
    TaskStatus,
    TaskVanished,
    UnknownStatus,
    Video,
    WaitTimeout,
    supports,
    units_of,
)
from kling_async.omni import OmniVideo
from kling_async.policies import DownloadPolicy, PollPolicy, PoolLimits, RetryPolicy, SlotPolicy
from kling_async.requests import (
    OmniVideoRequest,
    ReferenceElement,
    ReferenceImage,
    ReferenceVideo,
    VideoExtendRequest,
)
from kling_async.rules.callbacks import Answer
from kling_async.rules.chain import ChainPlan
from kling_async.rules.forecast import Forecast
from kling_async.runtime.batch import Batch
from kling_async.runtime.callback_store import AnyCallbackStore, CallbackStore
from kling_async.runtime.callbacks import Callbacks
from kling_async.runtime.carry import Outcome
from kling_async.runtime.chain import Chain
from kling_async.runtime.network import Network
from kling_async.runtime.pager import Pager

__all__ = [
    "APIError",
    "AccessKey",
    "AccountError",
    "AddressNotAllowed",
    "Answer",
    "AnyCallbackStore",
    "ApiKey",
    "AuthenticationError",
    "Batch",
    "CallbackStore",
    "Callbacks",
    "Chain",
    "ChainPlan",
    "ClientClosed",
    "ConcurrencyLimited",
    "ConfigurationError",
    "ContentRejected",
    "CreateUncertain",
    "DownloadError",
    "DownloadPolicy",
    "Forecast",
    "InvalidRequest",
    "JournalError",
    "KlingClient",
    "KlingError",
    "MalformedResponse",
    "Network",
    "NoVideo",
    "NotFound",
    "OmniVideo",
    "OmniVideoRequest",
    "Outcome",
    "Page",
    "Pager",
    "PollPolicy",
    "PoolLimits",
    "RateLimited",
    "ReferenceElement",
    "ReferenceImage",
    "ReferenceVideo",
    "RequestError",
    "ResourcePack",
    "RetryPolicy",
    "ServerError",
    "SlotPolicy",
    "Task",
    "TaskFailed",
    "TaskStatus",
    "TaskVanished",
    "TransportError",
    "UnknownCode",
    "UnknownStatus",
    "Video",
    "VideoExtend",
    "VideoExtendRequest",
    "WaitTimeout",
    "WebhookError",
    "supports",
    "units_of",
]
