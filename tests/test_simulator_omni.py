from __future__ import annotations

import pytest
from simulator_desk import EXTEND, OMNI, SHOT, Desk, data, message, verdict

VIDEO = {"video_url": "https://example.com/a.mp4", "refer_type": "feature"}
BASE = VIDEO | {"refer_type": "base"}
IMAGE = {"image_url": "https://example.com/a.png"}
ELEMENT = {"element_id": 1}


def without(*names: str) -> dict[str, object]:
    return {name: value for name, value in SHOT.items() if name not in names}


def shoot(**fields: object) -> tuple[int, object]:
    return verdict(Desk().shoot(**fields))


def test_the_body_of_the_specification_example_works() -> None:
    assert shoot(video_list=[{"video_url": "https://...", "refer_type": "feature"}], mode="pro") == (200, 0)


TAKEN: list[dict[str, object]] = [
    {},
    {"model_name": "kling-v3-omni"},
    {"model_name": None, "mode": "", "duration": None, "aspect_ratio": "", "image_list": None, "element_list": ""},
    {"mode": "std"},
    {"duration": "3"},
    {"duration": "10"},
    {"aspect_ratio": "9:16"},
    {"prompt": "x" * 2500},
    {"prompt": "<<<video_2>> <<video_2>>> <<<sound_1>>> <<<video_x>>>"},
    {"video_list": [VIDEO | {"keep_original_sound": "no"}]},
    {"video_list": [{"video_url": "https://example.com/a.mp4"}]},
    {"video_list": [BASE]},
    {"video_list": [BASE], "duration": "", "aspect_ratio": None},
    {"image_list": [IMAGE | {"type": "first_frame"}, IMAGE | {"type": "end_frame"}]},
    {"image_list": [{"image_url": "iVBORw0KGgo="}]},
    {"element_list": [ELEMENT, {"element_id": "863202612402817099"}]},
    {"image_list": [IMAGE] * 2, "element_list": [ELEMENT] * 2},
    {"prompt": "<<<video_1>>> <<<image_2>>> <<<element_1>>>", "image_list": [IMAGE] * 2, "element_list": [ELEMENT]},
    {"watermark_info": {"enabled": True}},
    {"watermark_info": {}},
    {"watermark_info": None},
    {"sound": "on", "multi_shot": True, "negative_prompt": "blur", "cfg_scale": 0.5},
    {"callback_url": "http://example.com"},
]


@pytest.mark.parametrize("fields", TAKEN, ids=str)
def test_taken(fields: dict[str, object]) -> None:
    assert shoot(**fields) == (200, 0)


@pytest.mark.parametrize("images", [0, 7])
def test_a_shot_without_a_video(images: int) -> None:
    assert shoot(video_list=[], image_list=[IMAGE] * images, prompt="A cat") == (200, 0)


def test_an_escaped_reference_is_a_reference() -> None:
    body = b'{"prompt":"\\u003c\\u003c\\u003cvideo_1\\u003e\\u003e\\u003e","video_list":[{"video_url":"https://example.com"}]}'
    assert verdict(Desk().call("POST", OMNI, body=body)) == (200, 0)


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"prompt": None}, "prompt can not be null"),
    ({"prompt": ""}, "prompt can not be null"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": "x" * 2501}, "prompt"),
    ({"prompt": "<<<video_2>>>"}, "prompt"),
    ({"prompt": "<<<video_0>>>"}, "prompt"),
    ({"prompt": "<<<video_01>>>"}, "prompt"),
    ({"prompt": "<<<image_1>>>"}, "prompt"),
    ({"prompt": "<<<element_1>>>"}, "prompt"),
    ({"video_list": None}, "prompt"),
    ({"model_name": "kling-v1"}, "model_name"),
    ({"model_name": 1}, "model_name"),
    ({"mode": "fast"}, "mode"),
    ({"aspect_ratio": "4:3"}, "aspect_ratio"),
    ({"aspect_ratio": 1}, "aspect_ratio"),
    ({"duration": "2"}, "duration"),
    ({"duration": "11"}, "duration"),
    ({"duration": "5.0"}, "duration"),
    ({"duration": 5}, "duration"),
    ({"video_list": [VIDEO, VIDEO]}, "video_list"),
    ({"video_list": VIDEO}, "video_list"),
    ({"video_list": ["https://example.com/a.mp4"]}, "video_list[0]"),
    ({"video_list": [{}]}, "video_list[0].video_url"),
    ({"video_list": [{"video_url": "a.mp4"}]}, "video_list[0].video_url"),
    ({"video_list": [{"video_url": 1}]}, "video_list[0].video_url"),
    ({"video_list": [VIDEO | {"refer_type": "style"}]}, "video_list[0].refer_type"),
    ({"video_list": [VIDEO | {"keep_original_sound": True}]}, "video_list[0].keep_original_sound"),
    ({"video_list": [BASE], "duration": "5"}, "duration"),
    ({"video_list": [BASE], "aspect_ratio": "1:1"}, "aspect_ratio"),
    ({"image_list": "x"}, "image_list"),
    ({"image_list": [IMAGE, 1]}, "image_list[1]"),
    ({"image_list": [{}]}, "image_list[0].image_url"),
    ({"image_list": [IMAGE | {"type": "middle"}]}, "image_list[0].type"),
    ({"image_list": [IMAGE] * 5}, "image_list"),
    ({"image_list": [IMAGE] * 2, "element_list": [ELEMENT] * 3}, "image_list"),
    ({"element_list": [{}]}, "element_list[0].element_id"),
    ({"element_list": [{"element_id": True}]}, "element_list[0].element_id"),
    ({"element_list": [{"element_id": 1.5}]}, "element_list[0].element_id"),
    ({"watermark_info": True}, "watermark_info"),
    ({"watermark_info": {"enabled": "yes"}}, "watermark_info.enabled"),
    ({"callback_url": "hook"}, "callback_url"),
    ({"external_task_id": 5}, "external_task_id"),
]


@pytest.mark.parametrize(("fields", "named"), REFUSED, ids=str)
def test_bad_parameter_is_1201_and_named(fields: dict[str, object], named: str) -> None:
    reply = Desk().shoot(**fields)
    assert (verdict(reply), message(reply).startswith(named)) == ((400, 1201), True)


def test_eight_images_are_too_many_without_a_video_too() -> None:
    assert shoot(video_list=[], image_list=[IMAGE] * 8, prompt="A cat") == (400, 1201)


def test_unknown_model_is_1203() -> None:
    assert shoot(model_name="kling-v9") == (404, 1203)


def test_an_empty_object_misses_its_prompt() -> None:
    assert message(Desk().post({}, OMNI)) == "prompt can not be null"


def test_a_shot_lasts_as_long_as_it_was_asked_to() -> None:
    desk = Desk()
    task_id = data(desk.shoot(duration="7"))["task_id"]
    desk.clock.now += 60
    [video] = desk.task(task_id, OMNI)["task_result"]["videos"]
    assert video["duration"] == "7.0"


def test_a_shot_lasts_five_seconds_by_default() -> None:
    desk = Desk()
    task_id = data(desk.post(without("duration"), OMNI))["task_id"]
    desk.clock.now += 60
    assert desk.task(task_id, OMNI)["task_result"]["videos"][0]["duration"] == "5.0"


def test_a_shot_is_pro_by_default() -> None:
    desk = Desk()
    task_id = data(desk.shoot())["task_id"]
    desk.clock.now += 60
    assert desk.task(task_id, OMNI)["final_unit_deduction"] == "3.5"


def test_a_shot_can_not_be_extended_by_video_extend() -> None:
    desk = Desk()
    task_id = data(desk.shoot())["task_id"]
    desk.clock.now += 60
    [video] = desk.task(task_id, OMNI)["task_result"]["videos"]
    assert verdict(desk.extend(video["id"])) == (400, 1201)


@pytest.mark.parametrize(
    ("duration", "expected"), [("2.9", (400, 1201)), ("3", (200, 0)), ("10", (200, 0)), ("10.1", (400, 1201))]
)
def test_a_film_of_ours_must_last_3_to_10_seconds(duration: str, expected: tuple[int, int]) -> None:
    desk = Desk()
    source = desk.engine.add_source(duration=duration)
    assert verdict(desk.shoot(video_list=[{"video_url": f"http://vendor/files/{source}.mp4"}])) == expected


def test_a_film_of_somebody_else_is_taken_on_trust() -> None:
    assert shoot(video_list=[{"video_url": "https://example.com/files/original-video-id.mp4"}]) == (200, 0)


def test_the_three_calls_of_omni_video() -> None:
    desk = Desk()
    task_id = data(desk.shoot(external_task_id="mine"))["task_id"]
    assert [desk.task("mine", OMNI)["task_id"], desk.ids(path=OMNI), desk.ids(path=EXTEND)] == [task_id, [task_id], []]
