"""The checks of omni-video, the specification's other way to extend a video. Source: document-api."""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from kling_async.simulator.checks import Fields, Order, model, prompt
from kling_async.simulator.routes import OMNI
from kling_async.simulator.wire import JSON
from kling_async.spec import (
    OMNI_ASPECT_RATIOS,
    OMNI_DEFAULT_DURATION,
    OMNI_DEFAULT_MODE,
    OMNI_IMAGE_TYPES,
    OMNI_KEEP_SOUND,
    OMNI_MAX_REFERENCES,
    OMNI_MAX_REFERENCES_WITH_VIDEO,
    OMNI_MAX_SECONDS,
    OMNI_MAX_VIDEOS,
    OMNI_MIN_SECONDS,
    OMNI_MODELS,
    OMNI_MODES,
    OMNI_REFER_TYPES,
)

DURATIONS: Final = tuple(str(seconds) for seconds in range(OMNI_MIN_SECONDS, OMNI_MAX_SECONDS + 1))
_REFERENCE: Final = re.compile(r"<<<((?:video|image|element)_[0-9]+)>>>")


@frozen
class _Inputs:
    """What a shot is made from: its one video, if any, and how many of each kind there are."""

    video_url: str | None
    refer_type: str | None
    counts: dict[str, int]


def shot(body: dict[str, JSON]) -> Order:
    """The order in the body of an omni-video. Members that it does not have (`sound`, ...) are ignored."""
    fields = Fields(body)
    fields.required("prompt")
    inputs = _inputs(fields)
    _check_references(fields, inputs)
    _check_base(fields, inputs)
    _check_watermark(fields)
    fields.choice("aspect_ratio", OMNI_ASPECT_RATIOS, OMNI_ASPECT_RATIOS[0])
    return Order(
        family=OMNI,
        model=model(fields, OMNI_MODELS, OMNI_MODELS[0]),
        mode=fields.choice("mode", OMNI_MODES, OMNI_DEFAULT_MODE),
        prompt=prompt(fields),
        callback_url=fields.url("callback_url"),
        external_id=fields.text("external_task_id"),
        video_url=inputs.video_url,
        seconds=int(fields.choice("duration", DURATIONS, OMNI_DEFAULT_DURATION)),
    )


def _inputs(fields: Fields) -> _Inputs:
    videos, images, elements = (_objects(fields, f"{kind}_list") for kind in ("video", "image", "element"))
    if len(videos) > OMNI_MAX_VIDEOS:
        raise fields.refuse("video_list", f"takes at most {OMNI_MAX_VIDEOS} video")
    for image in images:
        image.required("image_url")
        image.choice("type", OMNI_IMAGE_TYPES, OMNI_IMAGE_TYPES[0])
    for element in elements:
        _check_element(element)
    url, refer_type = _video(videos[0]) if videos else (None, None)
    return _Inputs(url, refer_type, {"video": len(videos), "image": len(images), "element": len(elements)})


def _objects(fields: Fields, name: str) -> list[Fields]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise fields.refuse(name, "must be an array")
    return [_object(item, f"{name}[{place}]", fields) for place, item in enumerate(value)]


def _object(value: JSON, name: str, fields: Fields) -> Fields:
    if not isinstance(value, dict):
        raise fields.refuse(name, "must be an object")
    return Fields(value, f"{name}.")


def _video(video: Fields) -> tuple[str | None, str]:
    video.required("video_url")
    video.choice("keep_original_sound", OMNI_KEEP_SOUND, OMNI_KEEP_SOUND[0])
    # Assumed: no word of ours says what an absent refer_type means; `feature` is the next shot.
    return video.url("video_url"), video.choice("refer_type", OMNI_REFER_TYPES, "feature")


def _check_element(element: Fields) -> None:
    value = element.get("element_id")
    # The vendor writes it as a number, other people's clients as a string too.
    if value is None:
        raise element.refuse("element_id", "can not be null")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise element.refuse("element_id", "must be an id")


def _check_references(fields: Fields, inputs: _Inputs) -> None:
    """Not too many images and elements, and nothing named in the prompt that is not there."""
    counts = inputs.counts
    limit = OMNI_MAX_REFERENCES_WITH_VIDEO if counts["video"] else OMNI_MAX_REFERENCES
    if counts["image"] + counts["element"] > limit:
        raise fields.refuse("image_list", f"and element_list together take at most {limit} here")
    names = {f"{kind}_{number + 1}" for kind, count in counts.items() for number in range(count)}
    for name in _REFERENCE.findall(prompt(fields) or ""):
        if name not in names:
            raise fields.refuse("prompt", f"refers to <<<{name}>>>, which is not given")


def _check_base(fields: Fields, inputs: _Inputs) -> None:
    """Editing keeps the length and shape of its video."""
    for name in ("duration", "aspect_ratio") if inputs.refer_type == "base" else ():
        if fields.get(name) is not None:
            raise fields.refuse(name, "is not supported with refer_type base")


def _check_watermark(fields: Fields) -> None:
    value = fields.get("watermark_info")
    if value is None:
        return
    enabled = _object(value, "watermark_info", fields).get("enabled")
    if not isinstance(enabled, bool | None):
        raise fields.refuse("watermark_info.enabled", "must be true or false")
