from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from kling_async.errors import RequestError
from kling_async.requests import (
    OmniVideoRequest,
    ReferenceElement,
    ReferenceImage,
    ReferenceVideo,
    VideoExtendRequest,
)

SHOT = ReferenceVideo(video_url="https://a.example/v.mp4")
BASE = ReferenceVideo(video_url="https://a.example/v.mp4", refer_type="base")
IMAGE = ReferenceImage(image_url="https://a.example/i.png")
ELEMENT = ReferenceElement(element_id=7)
SECRET_URL = "https://a.example/v.mp4?Signature=planted"

# What every bad value of a field is told: the field, the kind, and what is allowed.
BAD_EXTENSIONS = [
    ("video_id", None, "NoneType is not allowed; it must be the id of the video to extend"),
    ("video_id", 829836802793406551, "829836802793406551 (int) is not allowed; it must be the id of the video"),
    ("video_id", "", "'' (str) is not allowed; it must be the id of the video to extend, without blanks around it"),
    ("video_id", " v", "' v' (str) is not allowed"),
    ("prompt", 5, "5 (int) is not allowed; it must be a text of at most 2,500 characters"),
    ("prompt", ["a"], "list is not allowed; it must be a text of at most 2,500 characters"),
    ("prompt", "a" * 2501, "2,501 characters are too many; at most 2,500 are allowed"),
    ("prompt", "\udc00", "holds half of a surrogate pair"),
    ("model_name", "kling-v2", "'kling-v2' (str) is not allowed; it must be one of kling-v1, kling-v1-5, kling-v1-6"),
    ("model_name", 1, "1 (int) is not allowed; it must be one of kling-v1"),
    ("model_name", "", "'' (str) is not allowed"),
    ("mode", "Pro", "'Pro' (str) is not allowed; it must be one of std, pro"),
    ("mode", True, "True (bool) is not allowed; it must be one of std, pro"),
    ("callback_url", "hook", "'hook' (str) is not allowed; it must be an absolute http or https URL"),
    ("callback_url", 1, "1 (int) is not allowed; it must be an absolute http or https URL"),
    ("external_task_id", "a ", "'a ' (str) is not allowed; it must be an id of your own that is new to the account"),
    ("external_task_id", 1, "1 (int) is not allowed; it must be an id of your own"),
]


@pytest.mark.parametrize(("name", "value", "told"), BAD_EXTENSIONS)
def test_a_bad_member_of_an_extension_is_told(name: str, value: object, told: str) -> None:
    members: dict[str, object] = {"video_id": "v1", name: value}
    with pytest.raises(RequestError) as caught:
        VideoExtendRequest(**members)  # type: ignore[arg-type]
    assert caught.value.message.startswith(f"{name}: {told}")


@pytest.mark.parametrize(("name", "value", "told"), [row for row in BAD_EXTENSIONS if row[1] is not None])
def test_a_bad_member_of_a_dictionary_is_told_alike(name: str, value: object, told: str) -> None:
    with pytest.raises(RequestError) as caught:
        VideoExtendRequest.from_dict({"video_id": "v1", name: value})
    assert caught.value.message.startswith(f"{name}: {told}")


def test_an_extension_needs_no_more_than_a_video() -> None:
    assert attrs.asdict(VideoExtendRequest(video_id="v1")) == {
        "video_id": "v1",
        "prompt": None,
        "model_name": None,
        "mode": None,
        "callback_url": None,
        "external_task_id": None,
    }


@pytest.mark.parametrize("letter", ["a", "中", "\U0001f600"])
def test_a_prompt_has_2500_characters_whatever_their_bytes(letter: str) -> None:
    assert VideoExtendRequest(video_id="v1", prompt=letter * 2500).prompt == letter * 2500
    with pytest.raises(RequestError, match="2,501 characters"):
        VideoExtendRequest(video_id="v1", prompt=letter * 2501)


def test_from_dict_takes_every_member() -> None:
    members: dict[str, object] = {
        "model_name": "kling-v1-6",
        "video_id": "v1",
        "prompt": "on",
        "mode": "pro",
        "callback_url": "https://a.example/hook",
        "external_task_id": "mine",
    }
    assert attrs.asdict(VideoExtendRequest.from_dict(members)) == members


def test_from_dict_reads_null_as_absent() -> None:
    assert VideoExtendRequest.from_dict({"video_id": "v1", "prompt": None}) == VideoExtendRequest(video_id="v1")


def test_from_dict_leaves_the_dictionary_as_it_is() -> None:
    members: dict[str, object] = {"prompt": "a", "watermark_info": {"enabled": True}, "duration": "5", "mode": None}
    before = copy.deepcopy(members)
    OmniVideoRequest.from_dict(members)
    assert members == before


@pytest.mark.parametrize("name", ["negative_prompt", "cfg_scale"])
@pytest.mark.parametrize("value", ["blur", 0.5, None])
def test_from_dict_names_what_extension_does_not_take(name: str, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        VideoExtendRequest.from_dict({"video_id": "v1", name: value})
    assert caught.value.message == f"{name}: is not supported for video extension; leave it out"


def test_from_dict_names_an_unknown_key_and_the_known_ones() -> None:
    with pytest.raises(RequestError) as caught:
        VideoExtendRequest.from_dict({"video_id": "v1", "modell_name": "kling-v1"})
    assert caught.value.message == (
        "'modell_name': is no field of this request; the fields are model_name, video_id, prompt, mode, "
        "callback_url, external_task_id"
    )


@pytest.mark.parametrize("members", [{}, {"video_id": None}, {"prompt": "a"}])
def test_from_dict_needs_a_video(members: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="video_id: is missing; it must be given"):
        VideoExtendRequest.from_dict(members)


@pytest.mark.parametrize("kind", [VideoExtendRequest, OmniVideoRequest])
@pytest.mark.parametrize("members", [None, [], "video_id", 5])
def test_from_dict_takes_a_dictionary(kind: type[VideoExtendRequest], members: object) -> None:
    with pytest.raises(RequestError, match=r"the request: .* is not allowed; it must be a dictionary"):
        kind.from_dict(members)  # type: ignore[arg-type]


# Omni-Video.

BAD_SHOTS = [
    ("prompt", None, "NoneType is not allowed; it must be a text of at most 2,500 characters"),
    ("prompt", "a" * 2501, "2,501 characters are too many"),
    ("prompt", " \n", "is empty; Omni-Video needs a prompt"),
    ("model_name", "kling-v1", "'kling-v1' (str) is not allowed; it must be one of kling-video-o1, kling-v3-omni"),
    ("mode", "fast", "'fast' (str) is not allowed; it must be one of std, pro"),
    ("aspect_ratio", "4:3", "'4:3' (str) is not allowed; it must be one of 16:9, 9:16, 1:1"),
    ("aspect_ratio", 1.0, "1.0 (float) is not allowed; it must be one of 16:9"),
    ("duration", 2, "2 (int) is not allowed; it must be a whole number from 3 to 10"),
    ("duration", 11, "11 (int) is not allowed; it must be a whole number from 3 to 10"),
    ("duration", 5.0, "5.0 (float) is not allowed; it must be a whole number from 3 to 10"),
    ("duration", True, "True (bool) is not allowed"),
    ("watermark", "yes", "'yes' (str) is not allowed; it must be True or False"),
    ("callback_url", "hook", "'hook' (str) is not allowed; it must be an absolute http or https URL"),
    ("external_task_id", "", "'' (str) is not allowed; it must be an id of your own"),
    ("video_list", None, "NoneType is not allowed; it must be a list of ReferenceVideo"),
    ("video_list", SHOT, "ReferenceVideo is not allowed; it must be a list of ReferenceVideo"),
    ("video_list", [{"video_url": "https://a"}], "dict is not allowed; it must be a list of ReferenceVideo"),
    ("video_list", "https://a", "'https://a' (str) is not allowed; it must be a list of ReferenceVideo"),
    ("image_list", [SHOT], "ReferenceVideo is not allowed; it must be a list of ReferenceImage"),
    ("image_list", {"image_url": "a"}, "dict is not allowed; it must be a list of ReferenceImage"),
    ("element_list", 5, "5 (int) is not allowed; it must be a list of ReferenceElement"),
]


@pytest.mark.parametrize(("name", "value", "told"), BAD_SHOTS)
def test_a_bad_member_of_a_shot_is_told(name: str, value: object, told: str) -> None:
    members: dict[str, object] = {"prompt": "on", name: value}
    with pytest.raises(RequestError) as caught:
        OmniVideoRequest(**members)  # type: ignore[arg-type]
    assert caught.value.message.startswith(f"{name}: {told}")


def test_a_shot_takes_every_member() -> None:
    request = OmniVideoRequest(
        prompt="<<<video_1>>> then <<<image_1>>> with <<<element_1>>>",
        model_name="kling-v3-omni",
        video_list=[SHOT],  # a list is taken too
        image_list=(IMAGE,),
        element_list=(ELEMENT,),
        mode="std",
        aspect_ratio="9:16",
        duration=10,
        watermark=False,
        callback_url="https://a.example",
        external_task_id="mine",
    )
    assert request.video_list == (SHOT,)


@pytest.mark.parametrize(
    ("kind", "members", "told"),
    [
        (ReferenceVideo, {"video_url": "v.mp4"}, "video_url: 'v.mp4' (str) is not allowed; it must be an absolute"),
        (ReferenceVideo, {"video_url": "https://a", "refer_type": "style"}, "refer_type: 'style' (str) is not allowed"),
        (ReferenceVideo, {"video_url": "https://a", "keep_original_sound": True}, "keep_original_sound: True (bool)"),
        (ReferenceImage, {"image_url": 5}, "image_url: 5 (int) is not allowed; it must be a URL or Base64 text"),
        (ReferenceImage, {"image_url": "a", "type": "last"}, "type: 'last' (str) is not allowed; it must be one of fi"),
        (ReferenceElement, {"element_id": ""}, "element_id: '' (str) is not allowed; it must be an element's id"),
        (ReferenceElement, {"element_id": True}, "element_id: True (bool) is not allowed; it must be an element's id"),
        (ReferenceElement, {"element_id": 1.5}, "element_id: 1.5 (float) is not allowed; it must be an element's id"),
    ],
)
def test_a_bad_reference_is_told(kind: type[object], members: dict[str, object], told: str) -> None:
    with pytest.raises(RequestError) as caught:
        kind(**members)
    assert caught.value.message.startswith(told)


def test_one_video_at_most() -> None:
    with pytest.raises(RequestError, match="video_list: 2 videos are too many; at most 1 is allowed"):
        OmniVideoRequest(prompt="a", video_list=(SHOT, SHOT))


@pytest.mark.parametrize(("images", "elements"), [(4, 0), (0, 4), (2, 2)])
def test_beside_a_video_four_images_and_elements_at_most(images: int, elements: int) -> None:
    OmniVideoRequest(prompt="a", video_list=(SHOT,), image_list=(IMAGE,) * images, element_list=(ELEMENT,) * elements)
    with pytest.raises(RequestError, match="5 together are too many; at most 4 are allowed beside a video"):
        OmniVideoRequest(
            prompt="a", video_list=(SHOT,), image_list=(IMAGE,) * (images + 1), element_list=(ELEMENT,) * elements
        )


@pytest.mark.parametrize(("images", "elements"), [(7, 0), (0, 7), (3, 4)])
def test_without_a_video_seven_images_and_elements_at_most(images: int, elements: int) -> None:
    OmniVideoRequest(prompt="a", image_list=(IMAGE,) * images, element_list=(ELEMENT,) * elements)
    with pytest.raises(RequestError, match="8 together are too many; at most 7 are allowed without a video"):
        OmniVideoRequest(prompt="a", image_list=(IMAGE,) * images, element_list=(ELEMENT,) * (elements + 1))


@pytest.mark.parametrize(("name", "value"), [("duration", 5), ("aspect_ratio", "1:1")])
def test_an_edited_video_keeps_its_length_and_shape(name: str, value: object) -> None:
    free: dict[str, object] = {"prompt": "a", name: value}
    OmniVideoRequest(**free, video_list=(SHOT,))  # type: ignore[arg-type] # control: `feature` takes it
    with pytest.raises(RequestError, match=f"{name}: is not allowed beside a video with refer_type base"):
        OmniVideoRequest(**free, video_list=(BASE,))  # type: ignore[arg-type]


def test_an_edited_video_needs_neither() -> None:
    assert OmniVideoRequest(prompt="a", video_list=(BASE,)).duration is None


@pytest.mark.parametrize("reference", ["video_1", "image_2", "element_2", "video_0", "image_99999999999"])
def test_a_prompt_points_at_what_is_there(reference: str) -> None:
    with pytest.raises(RequestError, match=f"prompt: <<<{reference}>>> points at nothing"):
        OmniVideoRequest(prompt=f"as <<<{reference}>>>", image_list=(IMAGE,), element_list=(ELEMENT,))


@pytest.mark.parametrize(
    "prompt", ["<<<image_1>>>", "<<<element_1>>>", "<<image_9>>", "<<<audio_1>>>", "<<<image_x>>>"]
)
def test_other_words_in_angles_are_the_vendors_business(prompt: str) -> None:
    assert OmniVideoRequest(prompt=prompt, image_list=(IMAGE,), element_list=(ELEMENT,)).prompt == prompt


def test_a_prompt_that_names_the_clip_is_taken_as_it_is() -> None:
    request = OmniVideoRequest.next_shot("https://example.com/a.mp4", prompt="After <<<video_1>>>, a storm")
    assert request.prompt == "After <<<video_1>>>, a storm"


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("", "prompt: is empty"),
        (" ", "prompt: is empty"),
        (7, r"prompt: 7 \(int\)"),
        ("x" * 2499, "prompt: 2,547 characters are too many"),
    ],
)
def test_a_bad_prompt_for_the_next_shot_is_told(prompt: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        OmniVideoRequest.next_shot("https://example.com/a.mp4", prompt=prompt)


def test_the_next_shot_is_made_by_the_model_of_the_example() -> None:
    assert OmniVideoRequest.next_shot("https://example.com/a.mp4").model_name == "kling-video-o1"


def test_from_dict_reads_the_vendors_spelling() -> None:
    members = {
        "model_name": "kling-video-o1",
        "prompt": "Based on <<<video_1>>>",
        "video_list": [{"video_url": "https://a.example", "refer_type": "feature", "keep_original_sound": "yes"}],
        "image_list": [{"image_url": "https://i.example", "type": "end_frame"}],
        "element_list": [{"element_id": 7}],
        "mode": "pro",
        "aspect_ratio": "16:9",
        "duration": "5",
        "watermark_info": {"enabled": True},
        "callback_url": "https://h.example",
        "external_task_id": "mine",
    }
    assert OmniVideoRequest.from_dict(members) == OmniVideoRequest(
        model_name="kling-video-o1",
        prompt="Based on <<<video_1>>>",
        video_list=(ReferenceVideo(video_url="https://a.example", keep_original_sound="yes"),),
        image_list=(ReferenceImage(image_url="https://i.example", type="end_frame"),),
        element_list=(ELEMENT,),
        mode="pro",
        aspect_ratio="16:9",
        duration=5,
        watermark=True,
        callback_url="https://h.example",
        external_task_id="mine",
    )


def test_from_dict_takes_a_number_of_seconds_too() -> None:
    assert OmniVideoRequest.from_dict({"prompt": "a", "duration": 5}).duration == 5


BAD_SPELLINGS: list[tuple[dict[str, object], str]] = [
    ({"prompt": None}, "prompt: is missing; it must be given"),
    ({"prompt": "a", "watermark": True}, "'watermark': is no field of this request"),
    ({"prompt": "a", "cfg_scale": 1}, "cfg_scale: is not supported for video extension"),
    ({"prompt": "a", "duration": "2"}, "duration: '2' (str) is not allowed; it must be a whole number from 3 to 10"),
    ({"prompt": "a", "duration": "9" * 5000}, "duration: str is not allowed; it must be a whole number from 3 to 10"),
    ({"prompt": "a", "duration": ["5"]}, "duration: list is not allowed"),
    ({"prompt": "a", "watermark_info": True}, "watermark_info: True (bool) is not allowed; it must be a dictionary"),
    ({"prompt": "a", "watermark_info": {}}, "watermark_info: must be a dictionary of one key, 'enabled'"),
    ({"prompt": "a", "watermark_info": {"enabled": "yes"}}, "watermark_info: must be a dictionary of one key"),
    ({"prompt": "a", "watermark_info": {"enabled": True, "x": 1}}, "watermark_info: must be a dictionary of one key"),
    ({"prompt": "a", "video_list": {}}, "video_list: dict is not allowed; it must be a list"),
    ({"prompt": "a", "video_list": ["v"]}, "video_list[0]: the item: 'v' (str) is not allowed; it must be a dictionar"),
    ({"prompt": "a", "video_list": [{}]}, "video_list[0]: video_url: is missing; it must be given"),
    ({"prompt": "a", "video_list": [{"video_url": "https://a", "x": 1}]}, "video_list[0]: 'x': is no field"),
    ({"prompt": "a", "image_list": [{"image_url": "a"}, {"image_url": 5}]}, "image_list[1]: image_url: 5 (int)"),
    ({"prompt": "a", "element_list": [{"element_id": ""}]}, "element_list[0]: element_id: '' (str) is not allowed"),
]


@pytest.mark.parametrize(("members", "told"), BAD_SPELLINGS, ids=lambda value: str(value)[:40])
def test_a_bad_dictionary_of_a_shot_is_told(members: dict[str, object], told: str) -> None:
    with pytest.raises(RequestError) as caught:
        OmniVideoRequest.from_dict(members)
    assert caught.value.message.startswith(told)


# What stays unsaid.


@pytest.mark.parametrize(
    "request_",
    [
        VideoExtendRequest(video_id="v1", prompt="planted", callback_url=SECRET_URL),
        OmniVideoRequest(
            prompt="planted",
            callback_url=SECRET_URL,
            video_list=(ReferenceVideo(video_url=SECRET_URL),),
            image_list=(ReferenceImage(image_url=SECRET_URL),),
        ),
    ],
)
def test_prompts_and_signed_queries_are_not_in_the_repr(request_: object) -> None:
    assert "planted" not in repr(request_)
    assert "prompt=<7 characters>" in repr(request_)  # control: the rest is there
    assert "https://a.example/v.mp4" in repr(request_)


def test_repr_of_what_is_absent() -> None:
    shown = repr(VideoExtendRequest(video_id="v1"))
    assert "prompt=None" in shown
    assert "callback_url=None" in shown


def test_a_picture_as_text_is_shown_by_its_beginning() -> None:
    assert len(repr(ReferenceImage(image_url="A" * 1_000_000))) < 120


def test_a_prompt_that_is_too_long_is_not_in_its_error() -> None:
    with pytest.raises(RequestError) as caught:
        VideoExtendRequest(video_id="v1", prompt="planted " * 400)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("request_", [VideoExtendRequest(video_id="v1"), OmniVideoRequest(prompt="a")])
def test_requests_are_frozen_and_travel(request_: object) -> None:
    assert pickle.loads(pickle.dumps(request_)) == request_  # noqa: S301 - our own bytes
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        request_.prompt = "other"  # type: ignore[attr-defined]
