"""What goes to the vendor: requests to create a task, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar

import attrs

from kling_async import spec
from kling_async.checks import flag, id_text, one_of, optional, refusal, text, web_address, whole
from kling_async.errors import RequestError

_T = TypeVar("_T")

_PROMPT = f"a text of at most {spec.PROMPT_MAX_CHARACTERS:,} characters"
_OWN_ID = "an id of your own that is new to the account"


def _length(prompt: str | None) -> str:
    # Prompts stay out of logs and tracebacks: they may be a customer's words.
    return "None" if prompt is None else f"<{len(prompt)} characters>"


def _without_query(url: str | None) -> str:
    # Signatures and tokens stand in the query; a picture may be given as megabytes of Base64.
    return repr(url and url.partition("?")[0][:60])


@attrs.frozen(kw_only=True)
class VideoExtendRequest:
    """A request to extend a video that Kling made.

    Attributes:
        video_id: the source video's id (`task.video.id`; a task's own id is a different thing).
        prompt: what should happen next, at most 2,500 characters; `None` lets the vendor decide.
        model_name: `kling-v1`, `kling-v1-5` or `kling-v1-6`; `None` is not sent: the vendor takes `kling-v1`.
        mode: `std` or `pro`; `None` is not sent: the vendor takes `std`.
        callback_url: where the vendor POSTs each change of status; `None` for no callbacks.
        external_task_id: your own id of the task, unique within the account; `None`: the client makes one.

    Raises:
        RequestError: a value that the vendor would refuse.

    Source: specification, "Request Parameters" and "Limitations"; the length of the prompt: document-api.
    """

    video_id: str = attrs.field(validator=id_text("the id of the video to extend"))
    prompt: str | None = attrs.field(
        default=None, validator=optional(text(_PROMPT, most=spec.PROMPT_MAX_CHARACTERS)), repr=_length
    )
    model_name: str | None = attrs.field(default=None, validator=optional(one_of(spec.MODELS)))
    mode: str | None = attrs.field(default=None, validator=optional(one_of(spec.MODES)))
    callback_url: str | None = attrs.field(default=None, validator=optional(web_address), repr=_without_query)
    external_task_id: str | None = attrs.field(default=None, validator=optional(id_text(_OWN_ID)))

    @classmethod
    def from_dict(cls, members: Mapping[str, object]) -> Self:
        """The request that a dictionary (from a file, from a user) describes.

        Raises:
            RequestError: an unknown key, a field that extension does not take (`negative_prompt`, `cfg_scale`),
                a missing `video_id`, or a value that is not allowed. The message names the key.
        """
        return _build(cls, _known(members, spec.VIDEO_EXTEND_FIELDS, needed="video_id"))


@attrs.frozen(kw_only=True)
class ReferenceVideo:
    """The video that an Omni-Video task refers to as `<<<video_1>>>`.

    Attributes:
        video_url: an MP4 or MOV of 3 to 10 s, 720 to 2160 px, 24 to 60 fps, at most 200 MB.
        refer_type: `feature` (the next shot follows it) or `base` (it is edited).
        keep_original_sound: `yes` or `no`; `None` leaves it to the vendor.

    Source: document-api, "Omni-Video".
    """

    video_url: str = attrs.field(validator=web_address, repr=_without_query)
    refer_type: str = attrs.field(default="feature", validator=one_of(spec.OMNI_REFER_TYPES))
    keep_original_sound: str | None = attrs.field(default=None, validator=optional(one_of(spec.OMNI_KEEP_SOUND)))


@attrs.frozen(kw_only=True)
class ReferenceImage:
    """An image that an Omni-Video task refers to as `<<<image_1>>>`, `<<<image_2>>>`, ...

    Attributes:
        image_url: the image's URL, or its Base64 text.
        type: `first_frame` or `end_frame`; `None` for a plain reference.

    Source: document-api, "Omni-Video".
    """

    image_url: str = attrs.field(validator=text("a URL or Base64 text"), repr=_without_query)
    type: str | None = attrs.field(default=None, validator=optional(one_of(spec.OMNI_IMAGE_TYPES)))


@attrs.frozen(kw_only=True)
class ReferenceElement:
    """An element of the account's library that a task refers to as `<<<element_1>>>`, ...; by its id."""

    element_id: str | int = attrs.field()

    @element_id.validator
    def _check(self, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise refusal(field.name, value, "an element's id")


def _all_of(name: str, values: object, kind: type[_T]) -> tuple[_T, ...]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise refusal(name, values, f"a list of {kind.__name__}")
    checked: list[_T] = []
    for value in values:
        if not isinstance(value, kind):
            raise refusal(name, value, f"a list of {kind.__name__}")
        checked.append(value)
    return tuple(checked)


# One named function each: type checkers read a converter's parameter, and no call that makes one.


def _video_list(values: Iterable[ReferenceVideo]) -> tuple[ReferenceVideo, ...]:
    return _all_of("video_list", values, ReferenceVideo)


def _image_list(values: Iterable[ReferenceImage]) -> tuple[ReferenceImage, ...]:
    return _all_of("image_list", values, ReferenceImage)


def _element_list(values: Iterable[ReferenceElement]) -> tuple[ReferenceElement, ...]:
    return _all_of("element_list", values, ReferenceElement)


@attrs.frozen(kw_only=True)
class OmniVideoRequest:
    """A request to the Omni-Video API: the freer way to go on from a video.

    Attributes:
        prompt: what should happen, at most 2,500 characters; refers to inputs as `<<<video_1>>>`.
        model_name: `kling-video-o1` or `kling-v3-omni`; `None` is not sent: the vendor decides.
        video_list: at most one `ReferenceVideo`.
        image_list: `ReferenceImage`s; with `element_list` at most 4 beside a video, at most 7 without.
        element_list: `ReferenceElement`s.
        mode: `std` or `pro`; `None` is not sent: the vendor takes `pro`.
        aspect_ratio: `16:9`, `9:16` or `1:1`; not with a `base` video.
        duration: whole seconds from 3 to 10; `None` is not sent: the vendor takes 5. Not with a `base` video.
        watermark: whether a watermarked file is made too; `None` leaves it to the vendor.
        callback_url: where the vendor POSTs each change of status; `None` for no callbacks.
        external_task_id: your own id of the task, unique within the account; `None`: the client makes one.

    Raises:
        RequestError: a value, or values together, that the vendor would refuse.

    Source: specification, "Alternative: Omni-Video Extension"; fields and bounds: document-api, "Omni-Video".
    """

    prompt: str = attrs.field(validator=text(_PROMPT, most=spec.PROMPT_MAX_CHARACTERS), repr=_length)
    model_name: str | None = attrs.field(default=None, validator=optional(one_of(spec.OMNI_MODELS)))
    video_list: tuple[ReferenceVideo, ...] = attrs.field(default=(), converter=_video_list)
    image_list: tuple[ReferenceImage, ...] = attrs.field(default=(), converter=_image_list)
    element_list: tuple[ReferenceElement, ...] = attrs.field(default=(), converter=_element_list)
    mode: str | None = attrs.field(default=None, validator=optional(one_of(spec.OMNI_MODES)))
    aspect_ratio: str | None = attrs.field(default=None, validator=optional(one_of(spec.OMNI_ASPECT_RATIOS)))
    duration: int | None = attrs.field(default=None)
    watermark: bool | None = attrs.field(default=None, validator=optional(flag))
    callback_url: str | None = attrs.field(default=None, validator=optional(web_address), repr=_without_query)
    external_task_id: str | None = attrs.field(default=None, validator=optional(id_text(_OWN_ID)))

    @duration.validator
    def _check_duration(self, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None:
            whole(field.name, value, least=spec.OMNI_MIN_SECONDS, most=spec.OMNI_MAX_SECONDS)

    def __attrs_post_init__(self) -> None:
        if not self.prompt.strip():
            raise RequestError("prompt: is empty; Omni-Video needs a prompt")
        self._check_counts()
        self._check_base()
        self._check_references()

    def _check_counts(self) -> None:
        if len(self.video_list) > spec.OMNI_MAX_VIDEOS:
            raise RequestError(f"video_list: {len(self.video_list)} videos are too many; at most 1 is allowed")
        beside = len(self.image_list) + len(self.element_list)
        most = spec.OMNI_MAX_REFERENCES_WITH_VIDEO if self.video_list else spec.OMNI_MAX_REFERENCES
        if beside > most:
            where = "beside a video" if self.video_list else "without a video"
            raise RequestError(
                f"image_list and element_list: {beside} together are too many; at most {most} are allowed {where}"
            )

    def _check_base(self) -> None:
        if not any(video.refer_type == "base" for video in self.video_list):
            return
        for name in ("duration", "aspect_ratio"):
            if getattr(self, name) is not None:
                raise RequestError(f"{name}: is not allowed beside a video with refer_type base, which keeps its own")

    def _check_references(self) -> None:
        given = {"video": self.video_list, "image": self.image_list, "element": self.element_list}
        for kind, number in re.findall(r"<<<(video|image|element)_([0-9]+)>>>", self.prompt):
            if not 1 <= int(number) <= len(given[kind]):
                raise RequestError(
                    f"prompt: <<<{kind}_{number}>>> points at nothing; {kind}_list has {len(given[kind])}"
                )

    @classmethod
    def next_shot(
        cls,
        video_url: str,
        *,
        prompt: str | None = None,
        model_name: str = spec.OMNI_MODELS[0],
        mode: str | None = None,
        aspect_ratio: str | None = None,
        duration: int | None = None,
        callback_url: str | None = None,
        external_task_id: str | None = None,
    ) -> Self:
        """The request for the shot that follows a clip: one `feature` video, and a prompt that refers to it.

        Args:
            video_url: the clip, see `ReferenceVideo`.
            prompt: what should happen. One that does not say `<<<video_1>>>` itself is put behind the words of the
                specification's example, "Based on <<<video_1>>>, generate the next shot", which then count as
                characters too; default `None`: these words alone.
            model_name: default `kling-video-o1`.
            mode: see the class, as all below; `None` leaves each to the vendor.
            aspect_ratio: as above.
            duration: as above.
            callback_url: as above.
            external_task_id: as above.

        Raises:
            RequestError: a value that the vendor would refuse.

        Source: specification, "Alternative: Omni-Video Extension".
        """
        return cls(
            prompt=_SHOT if prompt is None else _shot_of(prompt),
            model_name=model_name,
            video_list=[ReferenceVideo(video_url=video_url)],
            mode=mode,
            aspect_ratio=aspect_ratio,
            duration=duration,
            callback_url=callback_url,
            external_task_id=external_task_id,
        )

    @classmethod
    def from_dict(cls, members: Mapping[str, object]) -> Self:
        """The request that a dictionary in the vendor's own spelling describes (`watermark_info` and all).

        Raises:
            RequestError: an unknown key, a missing `prompt`, or a value that is not allowed; names the key.
        """
        known = _known(members, spec.OMNI_FIELDS, needed="prompt")
        for name, kind in _OMNI_LISTS.items():
            if name in known:
                known[name] = _items(name, known[name], kind)
        if "watermark_info" in known:
            known["watermark"] = _watermark(known.pop("watermark_info"))
        if isinstance(known.get("duration"), str):
            known["duration"] = _SECONDS.get(str(known["duration"]), known["duration"])
        return _build(cls, known)


_SHOT = "Based on <<<video_1>>>, generate the next shot"


def _shot_of(prompt: str) -> str:
    """The prompt, with a word of the clip where it has none. What is no text, or empty, is for the field to refuse."""
    given: object = prompt
    is_whole = not isinstance(given, str) or not given.strip() or "<<<video_1>>>" in given
    return prompt if is_whole else f"{_SHOT}: {prompt}"


_OMNI_LISTS: Mapping[str, type[object]] = {
    "video_list": ReferenceVideo,
    "image_list": ReferenceImage,
    "element_list": ReferenceElement,
}

_SECONDS: Mapping[str, object] = {
    str(seconds): seconds for seconds in range(spec.OMNI_MIN_SECONDS, spec.OMNI_MAX_SECONDS + 1)
}  # the vendor's spelling is a text


def _watermark(info: object) -> object:
    members = _mapping("watermark_info", info)
    if list(members) != ["enabled"] or not isinstance(members["enabled"], bool):
        raise RequestError("watermark_info: must be a dictionary of one key, 'enabled', that is True or False")
    return members["enabled"]


def _known(members: Mapping[str, object], fields: Sequence[str], *, needed: str) -> dict[str, object]:
    for name in _mapping("the request", members):
        if name in spec.UNSUPPORTED_FIELDS:
            raise RequestError(f"{name}: is not supported for video extension; leave it out")
        if name not in fields:
            raise RequestError(f"{name!r}: is no field of this request; the fields are {', '.join(fields)}")
    if members.get(needed) is None:
        raise RequestError(f"{needed}: is missing; it must be given")
    return {name: value for name, value in members.items() if value is not None}


def _mapping(field: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise refusal(field, value, "a dictionary")
    return value


def _items(name: str, values: object, kind: type[object]) -> tuple[object, ...]:
    if not isinstance(values, list | tuple):
        raise refusal(name, values, "a list")
    return tuple(_item(f"{name}[{place}]", value, kind) for place, value in enumerate(values))


def _item(where: str, value: object, kind: type[object]) -> object:
    fields = list(kind.__annotations__)
    try:
        return _build(kind, _known(_mapping("the item", value), fields, needed=fields[0]))
    except RequestError as error:
        raise RequestError(f"{where}: {error.message}") from None


def _build(kind: type[_T], known: Mapping[str, object]) -> _T:
    # Every member is checked by its field; the type checker cannot see that.
    build: Callable[..., _T] = kind
    return build(**known)
