"""Vendor facts as constants: the one file that client and simulator share.

Every number carries its source. *Specification* is the video-extension page of the API reference;
*document-api* is the rest of the vendor's public reference (kling.ai/document-api, January and September 2026);
*observed* was seen on the live service and reported in public; *assumed* is ours.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# Hosts. Source: document-api. `api.klingai.com` is the retired name of the first.
BASE_URL: Final = "https://api-singapore.klingai.com"
BASE_URL_CHINA: Final = "https://api-beijing.klingai.com"

# Routes. Source: specification, "Endpoints" and "Alternative: Omni-Video Extension"; costs: document-api.
VIDEO_EXTEND_PATH: Final = "/v1/videos/video-extend"
OMNI_VIDEO_PATH: Final = "/v1/videos/omni-video"
ACCOUNT_COSTS_PATH: Final = "/account/costs"


class ModelSupport(NamedTuple):
    """One cell of the specification's model table."""

    model: str
    mode: str
    seconds: int


# Source: specification, "Model Support": all twelve cells are supported.
MODELS: Final = ("kling-v1", "kling-v1-5", "kling-v1-6")
MODES: Final = ("std", "pro")
TABLE_SECONDS: Final = (5, 10)
MODEL_TABLE: Final = frozenset(
    ModelSupport(model, mode, seconds) for model in MODELS for mode in MODES for seconds in TABLE_SECONDS
)

# Source: specification, "Request Parameters".
DEFAULT_MODEL: Final = "kling-v1"
DEFAULT_MODE: Final = "std"
VIDEO_EXTEND_FIELDS: Final = ("model_name", "video_id", "prompt", "mode", "callback_url", "external_task_id")
# Source: specification, "Limitations" and gotchas 2 and 3.
UNSUPPORTED_FIELDS: Final = ("negative_prompt", "cfg_scale")

# Source: document-api.
PROMPT_MAX_CHARACTERS: Final = 2500
EXTENSION_MIN_SECONDS: Final = 4
EXTENSION_MAX_SECONDS: Final = 5
TOTAL_MAX_SECONDS: Final = 180
KEPT_DAYS: Final = 30  # results and source videos are deleted after that

# The list. Defaults and bounds: document-api; the specification's example asks for pageNum=1&pageSize=30.
PAGE_NUM_DEFAULT: Final = 1
PAGE_NUM_MAX: Final = 1000
PAGE_SIZE_DEFAULT: Final = 30
PAGE_SIZE_MAX: Final = 500

# Statuses. Source: specification, "Response", and document-api. The newer API family writes `succeeded`.
STATUS_SUBMITTED: Final = "submitted"
STATUS_PROCESSING: Final = "processing"
STATUS_SUCCEED: Final = "succeed"
STATUS_SUCCEEDED: Final = "succeeded"
STATUS_FAILED: Final = "failed"

# Tokens of an access key. Source: document-api, "Authentication".
JWT_ALGORITHM: Final = "HS256"
JWT_LIFETIME_SECONDS: Final = 1800
JWT_NOT_BEFORE_SECONDS: Final = 5

# Not yet valid, and expired: what a wrong clock looks like (observed).
TOKEN_TIME_CODES: Final = (1003, 1004)

# Callbacks. Source: document-api, "Callbacks"; the scheme is that of Standard Webhooks.
WEBHOOK_ID: Final = "webhook-id"
WEBHOOK_TIMESTAMP: Final = "webhook-timestamp"  # Unix seconds, not milliseconds
WEBHOOK_SIGNATURE: Final = "webhook-signature"  # `v1,<base64>`, several with blanks between while a secret rotates
WEBHOOK_VERSION: Final = "v1"
WEBHOOK_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with
WEBHOOK_SECRET_MIN_BYTES: Final = 16  # assumed: the scheme asks for 24, and what is much shorter can be guessed
WEBHOOK_TOLERANCE_SECONDS: Final = 300
CALLBACK_MAX_BYTES: Final = 256 * 1024  # assumed: a task's record has about one KiB

# Omni-Video. Source: document-api; the specification's example uses kling-video-o1, `feature` and `pro`.
OMNI_MODELS: Final = ("kling-video-o1", "kling-v3-omni")
OMNI_MODES: Final = ("std", "pro")
OMNI_DEFAULT_MODE: Final = "pro"
OMNI_DEFAULT_DURATION: Final = "5"
OMNI_MIN_SECONDS: Final = 3
OMNI_MAX_SECONDS: Final = 10
OMNI_ASPECT_RATIOS: Final = ("16:9", "9:16", "1:1")
OMNI_REFER_TYPES: Final = ("feature", "base")
OMNI_KEEP_SOUND: Final = ("yes", "no")
OMNI_IMAGE_TYPES: Final = ("first_frame", "end_frame")
OMNI_MAX_VIDEOS: Final = 1
OMNI_MAX_REFERENCES_WITH_VIDEO: Final = 4  # images and elements together, beside a video
OMNI_MAX_REFERENCES: Final = 7  # without a video
OMNI_FIELDS: Final = (
    "model_name",
    "prompt",
    "video_list",
    "image_list",
    "element_list",
    "mode",
    "aspect_ratio",
    "duration",
    "watermark_info",
    "callback_url",
    "external_task_id",
)

# Account. Source: document-api.
COSTS_MAX_REQUESTS_PER_SECOND: Final = 1
PACK_TYPES: Final = ("decreasing_total", "constant_period")
PACK_ONLINE: Final = "online"
PACK_STATUSES: Final = ("toBeOnline", PACK_ONLINE, "expired", "runOut")


class VendorCode(NamedTuple):
    """One row of the vendor's error table."""

    code: int
    http_status: int
    meaning: str


# Source: document-api, "Error codes".
SUCCESS: Final = 0
VENDOR_CODES: Final = (
    VendorCode(0, 200, "success"),
    VendorCode(1000, 401, "authentication failed"),
    VendorCode(1001, 401, "Authorization header is empty"),
    VendorCode(1002, 401, "Authorization is invalid"),
    VendorCode(1003, 401, "token is not yet valid"),
    VendorCode(1004, 401, "token has expired"),
    VendorCode(1100, 429, "account is abnormal"),
    VendorCode(1101, 429, "account is in arrears"),
    VendorCode(1102, 429, "resource pack is exhausted or expired"),
    VendorCode(1103, 403, "no permission for the requested API or model"),
    VendorCode(1200, 400, "invalid request parameters"),
    VendorCode(1201, 400, "invalid parameter: wrong key or illegal value"),
    VendorCode(1202, 404, "requested method is invalid"),
    VendorCode(1203, 404, "requested resource does not exist"),
    VendorCode(1300, 400, "platform policy was triggered"),
    VendorCode(1301, 400, "content-safety policy was triggered"),
    VendorCode(1302, 429, "too many requests: rate limit"),
    VendorCode(1303, 429, "parallel task over resource pack limit"),
    VendorCode(1304, 429, "IP address is not on the allow list"),
    VendorCode(5000, 500, "internal error"),
    VendorCode(5001, 503, "temporarily unavailable, usually for maintenance"),
    VendorCode(5002, 504, "internal timeout, usually a backlog"),
)
