"""Callbacks as the vendor would post them, signed with the standard library."""

from __future__ import annotations

import base64
import hmac
import json
from hashlib import sha256

from kling_async.spec import WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="  # the one of the vendor's published vector
OTHER = "whsec_" + base64.b64encode(b"another secret of 32 letters ...").decode()

VECTOR_BODY = (
    b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
)
VECTOR = {
    WEBHOOK_ID: "9876543210",
    WEBHOOK_TIMESTAMP: "1781080794",
    WEBHOOK_SIGNATURE: "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
}
VECTOR_TIME = 1781080794.0

LEGACY: dict[str, object] = {
    "task_id": "816000000000000001",
    "task_status": "succeed",
    "task_status_msg": "",
    "task_info": {"external_task_id": "order-1"},
    "created_at": 1781080778802,
    "updated_at": 1781080794151,
    "final_unit_deduction": "3.5",
    "task_result": {"videos": [{"id": "v-1", "url": "https://files.example/v-1.mp4?sig=1", "duration": "9.6"}]},
}
NEWER: dict[str, object] = {
    "id": "816000000000000001",
    "status": "succeeded",
    "message": "",
    "create_time": 1781080778802,
    "update_time": 1781080794151,
    "external_id": "order-1",
    "outputs": [{"type": "video", "id": "v-1", "url": "https://files.example/v-1.mp4?sig=1", "duration": "9.6"}],
    "billing": [{"anything": 1}],
}


def mac(secret: str, id: str, at: int | str, body: bytes) -> str:
    """One signature, as it stands in the header."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{id}.{at}.".encode() + body, sha256)).decode()


def headers(
    body: bytes, *, at: float = VECTOR_TIME, id: str = "msg-1", secrets: tuple[str, ...] = (SECRET,)
) -> dict[str, str]:
    """The headers of a callback, signed with each of the secrets."""
    return {
        "Content-Type": "application/json",
        WEBHOOK_ID: id,
        WEBHOOK_TIMESTAMP: str(int(at)),
        WEBHOOK_SIGNATURE: " ".join(mac(secret, id, int(at), body) for secret in secrets),
    }


def body(record: dict[str, object] = LEGACY, **changes: object) -> bytes:
    """The body of a callback, with some members changed."""
    return json.dumps(record | changes).encode()
