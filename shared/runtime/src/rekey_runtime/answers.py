"""Answers with stored messages: what comes to an inbox of its own, the first or all up to the message that ends it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from rekey_runtime import wire


async def first_answer(client: Client, subject: str, question: bytes, *, wait_s: float) -> Msg:
    """The first message of the answer, whatever its author wrote into it.

    The client's own request takes a stored message with status 503 for the bus's word that nobody is there.

    Raises:
        nats.errors.Error: nobody is there, nothing came in time, or the connection is closed.
    """
    first: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox, future=first)
    try:
        await answers.unsubscribe(limit=1)
        await client.publish(subject, question, reply=inbox)
        async with asyncio.timeout(wait_s):
            answer = await first
    except TimeoutError as error:
        raise nats.errors.TimeoutError from error
    finally:
        if first.cancelled() or not first.done():
            with suppress(nats.errors.Error):  # the connection went away, with the subscription
                await answers.unsubscribe()
    if wire.status(answer) == wire.NO_RESPONDERS:
        raise nats.errors.NoRespondersError
    return answer


async def all_answers(
    client: Client, subject: str, question: bytes, *, wait_s: float
) -> tuple[list[Msg], Msg]:
    """The messages of the answer, and its end. ``wait_s``: the longest time in which nothing comes.

    One task takes them all: the client's ``next_msg`` makes two and a timer for each.

    Raises:
        nats.errors.Error: nothing came for too long before the end, or the connection is closed.
    """
    found: list[Msg] = []
    ended: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

    async def on_message(message: Msg) -> None:
        if wire.status(message) is None:
            found.append(message)
        elif not ended.done():
            ended.set_result(message)

    inbox = client.new_inbox()
    answers = await client.subscribe(inbox, cb=on_message)
    try:
        await client.publish(subject, question, reply=inbox)
        before = -1
        while not ended.done():
            if client.is_closed or len(found) == before:
                raise nats.errors.TimeoutError
            before = len(found)
            await asyncio.wait([ended], timeout=wait_s)
        return found, ended.result()
    finally:
        with suppress(nats.errors.Error):  # the connection went away, with the subscription
            await answers.unsubscribe()
