"""What a task starts from, and how long its film will be.

Source: document-api: made by V1.0, V1.5 or V1.6, at most 30 days old, 4 to 5 s more, at most 180 s in all.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from kling_async.simulator.routes import FILE_SUFFIX, FILES_PATH
from kling_async.simulator.wire import BAD_PARAMETER, Refused
from kling_async.spec import (
    EXTENSION_MAX_SECONDS,
    EXTENSION_MIN_SECONDS,
    KEPT_DAYS,
    MODELS,
    OMNI_MAX_SECONDS,
    OMNI_MIN_SECONDS,
    TOTAL_MAX_SECONDS,
)

if TYPE_CHECKING:
    from random import Random

    from kling_async.simulator.checks import Order
    from kling_async.simulator.ledger import Ledger, Video


def source_to_extend(video_id: str, ledger: Ledger, now: float) -> Video:
    """The video with this id, when it can be extended.

    Raises:
        Refused: it is unknown, a task, too old, from another model, or would become too long.
    """
    video = ledger.videos.get(video_id)
    if video is None:
        raise _refuse(video_id, _why_unknown(video_id, ledger))
    if not video.is_kept(now):
        raise _refuse(video_id, f"is more than {KEPT_DAYS} days old")
    if video.model not in MODELS:
        raise _refuse(video_id, f"was made by {video.model}; only {', '.join(MODELS)} can be extended")
    if video.duration + EXTENSION_MIN_SECONDS > TOTAL_MAX_SECONDS:
        raise _refuse(video_id, f"would become longer than {TOTAL_MAX_SECONDS} seconds")
    return video


def segments(order: Order, source: Video | None, rng: Random) -> tuple[Decimal, ...]:
    """The parts of the film to be: behind a source 4 to 5 s more, never past 180 s in all."""
    if source is None:
        return (Decimal(f"{order.seconds}.0"),)
    most = min(Decimal(EXTENSION_MAX_SECONDS), TOTAL_MAX_SECONDS - source.duration)
    tenths = rng.randint(EXTENSION_MIN_SECONDS * 10, int(most * 10))
    return (*source.segments, Decimal(tenths).scaleb(-1))


def check_shown(order: Order, ledger: Ledger, base_url: str) -> None:
    """Nothing, unless the video shown to an omni-video is one of ours and of a wrong length.

    Others are taken on trust: the simulator fetches nothing.
    """
    begin = base_url + FILES_PATH
    url = order.video_url or ""
    video = ledger.videos.get(url.removeprefix(begin).removesuffix(FILE_SUFFIX)) if url.startswith(begin) else None
    if video is not None and not OMNI_MIN_SECONDS <= video.duration <= OMNI_MAX_SECONDS:
        why = f"must last {OMNI_MIN_SECONDS} to {OMNI_MAX_SECONDS} seconds, not {video.duration}"
        raise Refused(BAD_PARAMETER, f"video_list[0].video_url {why}")


def _why_unknown(video_id: str, ledger: Ledger) -> str:
    # Observed: a common slip, and a hard one to see.
    if video_id in ledger.tasks or video_id in ledger.by_external_id:
        return "is the id of a task; its result has a video id of its own"
    return "does not exist"


def _refuse(video_id: str, why: str) -> Refused:
    return Refused(BAD_PARAMETER, f"video_id {video_id} {why}")
