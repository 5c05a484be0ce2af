"""`extend` and `omni`: one task is made, awaited, and its film saved."""

from __future__ import annotations

import uuid

import click

from kling_async import spec
from kling_async.cli.finding import EXTENSION, OMNI, Found
from kling_async.cli.following import Followers, Wishes
from kling_async.cli.interrupt import carried
from kling_async.cli.options import Target, bounded, prompt_of, prompted, saving, slotted, telling
from kling_async.cli.session import PROGRAM, Session
from kling_async.client import KlingClient
from kling_async.events import Event, QueuedForSlot
from kling_async.requests import OmniVideoRequest, VideoExtendRequest
from kling_async.runtime.carry import Request


@click.command(short_help="Extend a video that Kling made, by 4 to 5 s.")
@click.argument("video_id", metavar="VIDEO")
@prompted
@click.option("--model", type=click.Choice(spec.MODELS), help=f"Left out: the vendor takes {spec.DEFAULT_MODEL}.")
@click.option("--mode", type=click.Choice(spec.MODES), help=f"Left out: the vendor takes {spec.DEFAULT_MODE}.")
@click.option("--callback-url", metavar="URL", help="Where the vendor posts each change of status.")
@click.option("--external-id", metavar="ID", help="Your own id of the task: given again, nothing is made twice.")
@click.option("--no-wait", is_flag=True, help="Leave as soon as the vendor has accepted the task.")
@saving
@bounded
@slotted
@telling
@click.pass_obj
def extend(
    session: Session,
    *,
    video_id: str,
    prompt: str | None,
    prompt_file: str | None,
    model: str | None,
    mode: str | None,
    callback_url: str | None,
    external_id: str | None,
    no_wait: bool,
    out: Target | None,
    timeout: float | None,
    slots: int | None,
) -> int:
    """Extend a video, by its id (a task's id is another: `show` has both). This costs money.

    It waits for a free slot of the account, then for the task. Ctrl-C detaches, and tells how to go on.

    \b
    Examples:
      kling-async extend VIDEO --prompt "The scene continues" --out film.mp4
      kling-async extend VIDEO --prompt-file scene.txt --mode pro --no-wait --json
      kling-async extend VIDEO --external-id order-4711      # safe to repeat
    """  # noqa: D301 - click reads the backspace
    request = VideoExtendRequest(
        video_id=video_id,
        prompt=prompt_of(prompt, prompt_file),
        model_name=model,
        mode=mode,
        callback_url=callback_url,
        external_task_id=new_id() if external_id is None else external_id,
    )
    return made(session, request, Wishes(waits=not no_wait, out=out, timeout=timeout), slots=slots)


@click.command(short_help="Make the shot that follows any short clip, by Omni-Video.")
@click.argument("video_url", metavar="URL")
@prompted
@click.option(
    "--model", type=click.Choice(spec.OMNI_MODELS), default=spec.OMNI_MODELS[0], show_default=True, help="Which model."
)
@click.option(
    "--mode", type=click.Choice(spec.OMNI_MODES), help=f"Left out: the vendor takes {spec.OMNI_DEFAULT_MODE}."
)
@click.option("--aspect-ratio", type=click.Choice(spec.OMNI_ASPECT_RATIOS), help="Left out: the vendor decides.")
@click.option(
    "--seconds",
    type=click.IntRange(min=spec.OMNI_MIN_SECONDS, max=spec.OMNI_MAX_SECONDS),
    help=f"Left out: the vendor takes {spec.OMNI_DEFAULT_DURATION}.",
)
@click.option("--callback-url", metavar="URL", help="Where the vendor posts each change of status.")
@click.option("--external-id", metavar="ID", help="Your own id of the task: given again, nothing is made twice.")
@click.option("--no-wait", is_flag=True, help="Leave as soon as the vendor has accepted the task.")
@saving
@bounded
@slotted
@telling
@click.pass_obj
def omni(
    session: Session,
    *,
    video_url: str,
    prompt: str | None,
    prompt_file: str | None,
    model: str,
    mode: str | None,
    aspect_ratio: str | None,
    seconds: int | None,
    callback_url: str | None,
    external_id: str | None,
    no_wait: bool,
    out: Target | None,
    timeout: float | None,
    slots: int | None,
) -> int:
    """Make the shot that follows a clip of 3 to 10 s, wherever it lies on the web. This costs money.

    Without a prompt it is the vendor's own: "Based on <<<video_1>>>, generate the next shot". Whole requests, with
    images and elements, go through `batch --omni`.

    \b
    Examples:
      kling-async omni https://example.com/clip.mp4 --prompt "The door opens" --out shot.mp4
      kling-async omni https://example.com/clip.mp4 --seconds 10 --aspect-ratio 16:9 --no-wait
    """  # noqa: D301
    request = OmniVideoRequest.next_shot(
        video_url,
        prompt=prompt_of(prompt, prompt_file),
        model_name=model,
        mode=mode,
        aspect_ratio=aspect_ratio,
        duration=seconds,
        callback_url=callback_url,
        external_task_id=new_id() if external_id is None else external_id,
    )
    return made(session, request, Wishes(waits=not no_wait, omni=True, out=out, timeout=timeout), slots=slots)


def new_id() -> str:
    """An external id, fixed before anything is sent: so that what is interrupted can be taken up."""
    return f"{PROGRAM}-{uuid.uuid4().hex}"


def made(session: Session, request: Request, wishes: Wishes, *, slots: int | None) -> int:
    """Makes one task and follows it; the exit code.

    Raises:
        click.UsageError: a film is to be saved, but not awaited.
    """
    if wishes.out is not None and not wishes.waits:
        raise click.UsageError("--no-wait leaves before there is a film for --out; give one of them")
    external_id = request.external_task_id or ""

    async def work() -> int:
        def heard(event: Event) -> None:
            if isinstance(event, QueuedForSlot):
                board.moved(external_id, f"in line for a slot{', others hold them all' if event.foreign else ''}")

        async with session.client(slots=slots, on_event=heard) as kling:
            session.goes_on = session.same("--external-id", external_id)
            board = session.board(kind=OMNI if wishes.omni else EXTENSION)
            followers = Followers(session, kling, board, wishes)

            async def begin() -> Found:
                board.moved(external_id, "creating")
                one = await _created(kling, request)
                if wishes.waits:
                    session.goes_on = followers.again
                return one

            return await followers.follow({external_id: begin})

    return carried(work())


async def _created(kling: KlingClient, request: Request) -> Found:
    if isinstance(request, OmniVideoRequest):
        task = await kling.omni_video.create(request)
        return Found(task.id, OMNI, kling.omni_video, task)
    task = await kling.video_extend.create(request)
    return Found(task.id, EXTENSION, kling.video_extend, task)
