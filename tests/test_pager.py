"""The listing: items, pages, one page; and what happens while it moves."""

from __future__ import annotations

import asyncio
import warnings

import pytest

from kling_async import ApiKey, KlingClient, NotFound, Page, RequestError, ServerError
from kling_async.simulator import Fault, Simulator
from kling_async.spec import VIDEO_EXTEND_PATH
from kling_async.testing import wall


def fill(simulator: Simulator, count: int) -> list[str]:
    """The ids of so many new tasks, newest first as the list shows them. Past the sockets: these are no creates."""
    head = {"Authorization": f"Bearer {simulator.api_key}"}
    body = b'{"video_id": "%s"}' % simulator.sources[0].encode()
    for _ in range(count):
        assert simulator.engine.handle("POST", VIDEO_EXTEND_PATH, "", head, body).created
    return [accepted.task_id for accepted in reversed(simulator.accepted)]


async def test_items_come_from_all_pages_in_the_vendors_order(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 25)
    assert [task.id async for task in kling.video_extend.list(page_size=10)] == ids


async def test_pages_come_one_by_one(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 25)
    pages = [page async for page in kling.video_extend.list(page_size=10).pages()]
    assert [page.number for page in pages] == [1, 2, 3]
    assert [[task.id for task in page.tasks] for page in pages] == [ids[:10], ids[10:20], ids[20:]]


async def test_awaited_it_is_the_one_page_asked_for(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 25)
    page = await kling.video_extend.list(page_size=10, page_num=2)
    assert isinstance(page, Page)
    assert (page.number, page.size, [task.id for task in page.tasks]) == (2, 10, ids[10:20])
    assert simulator.count("list") == 1


async def test_walk_begins_at_the_page_asked_for(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 25)
    assert [task.id async for task in kling.video_extend.list(page_size=10, page_num=2)] == ids[10:]


async def test_page_is_fetched_when_it_is_needed_and_not_before(kling: KlingClient, simulator: Simulator) -> None:
    fill(simulator, 25)
    async for _ in kling.video_extend.list(page_size=10):
        break
    assert simulator.count("list") == 1


async def test_new_tasks_between_two_pages_are_no_reason_to_repeat(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 25)
    seen = []
    async for page in kling.video_extend.list(page_size=10).pages():
        seen += [task.id for task in page.tasks]
        if page.number < 3:
            fill(simulator, 3)
    assert seen == ids


async def test_page_of_nothing_but_repeats_is_left_out(kling: KlingClient, simulator: Simulator) -> None:
    fill(simulator, 10)
    numbers = []
    async for page in kling.video_extend.list(page_size=10).pages():
        numbers.append(page.number)
        fill(simulator, 10 if page.number == 1 else 0)
    assert numbers == [1]


async def test_empty_list_has_no_items_and_one_empty_page(kling: KlingClient) -> None:
    assert [task async for task in kling.video_extend.list()] == []
    assert [page async for page in kling.video_extend.list().pages()] == []
    assert (await kling.video_extend.list()).tasks == ()


async def test_pager_can_be_walked_twice(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 5)
    pager = kling.video_extend.list(page_size=2)
    for _ in range(2):
        assert [task.id async for task in pager] == ids


async def test_each_resource_lists_its_own(kling: KlingClient, simulator: Simulator) -> None:
    fill(simulator, 3)
    assert [task async for task in kling.omni_video.list()] == []


async def test_walk_goes_on_after_passing_trouble(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 5)
    simulator.script(Fault.none(), Fault.reset(), Fault.html(), Fault.code(5001))
    assert [task.id async for task in kling.video_extend.list(page_size=2)] == ids


async def test_trouble_that_stays_is_raised(kling: KlingClient, simulator: Simulator) -> None:
    fill(simulator, 5)
    simulator.script(Fault.none(), Fault.code(5001, times=None))
    seen = []
    with pytest.raises(ServerError):
        async for page in kling.video_extend.list(page_size=2).pages():
            seen.append(page.number)
    assert seen == [1]


async def test_full_last_page_warns_that_older_tasks_may_exist(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 1001)
    seen = []
    with pytest.warns(RuntimeWarning, match=r"1,000 pages .* page_size=1;"):
        async for task in kling.video_extend.list(page_size=1, page_num=998):
            seen.append(task.id)
    assert seen == ids[997:1000]
    assert simulator.count("list") == 3


async def test_last_page_that_is_not_full_is_the_end_without_a_word(kling: KlingClient, simulator: Simulator) -> None:
    ids = fill(simulator, 1999)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [task.id async for task in kling.video_extend.list(page_size=2, page_num=999)] == ids[1996:]


@pytest.mark.parametrize("size", [0, 501, -1, 1.0, True, "30", None])
async def test_page_size_out_of_bounds_is_refused_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator, size: int
) -> None:
    with pytest.raises(RequestError, match="page_size"):
        kling.video_extend.list(page_size=size)
    assert simulator.count("list") == 0


@pytest.mark.parametrize("number", [0, 1001, -1, 1.0, True, "1", None])
async def test_page_num_out_of_bounds_is_refused_before_anything_is_sent(
    kling: KlingClient, simulator: Simulator, number: int
) -> None:
    with pytest.raises(RequestError, match="page_num"):
        kling.video_extend.list(page_num=number)
    assert simulator.count("list") == 0


async def test_bounds_themselves_are_taken(kling: KlingClient) -> None:
    for number, size in ((1, 1), (1000, 500)):
        assert (await kling.video_extend.list(page_num=number, page_size=size)).tasks == ()


async def test_unknown_resource_is_not_an_empty_list(kling: KlingClient, simulator: Simulator) -> None:
    simulator.script(Fault.code(1203))
    with pytest.raises(NotFound):
        await kling.video_extend.list()


def test_pager_shows_what_it_will_walk() -> None:
    kling = KlingClient(ApiKey("k"), base_url="http://127.0.0.1:9", wall=wall)
    assert repr(kling.video_extend.list(page_num=3, page_size=7)) == "<Pager from page 3, 7 a page>"


async def test_walk_broken_off_leaves_no_task_behind(kling: KlingClient, simulator: Simulator) -> None:
    fill(simulator, 25)
    before = {task.get_name() for task in asyncio.all_tasks()}
    walk = aiter(kling.video_extend.list(page_size=10))
    for _ in range(15):
        await anext(walk)
    del walk
    await asyncio.sleep(0.1)
    mine = {task for task in asyncio.all_tasks() if task.get_name() not in before}
    assert not [task for task in mine if "aclose" in repr(task)]
