"""The gateway's connections to the SuperLink: what is an answer, which one is used again, and who is believed."""

import asyncio
import select
import ssl
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Thread

import pytest

from skerry.server.engines.certificates import LoopbackTls
from skerry.server.gateway import SuperlinkLine, superlink_line
from skerry.server.gateway.superlink_line import Answered, TooLongError

from ._superlink import says

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/protobuf\r\ncontent-length: 3\r\n\r\nyes"
YES = Answered(200, "application/protobuf", b"yes")


async def asked(line: SuperlinkLine, body: bytes = b"body", *, longest: int = 100) -> Answered:
    return await asyncio.wait_for(line.exchange("POST", "/v1/fleet/x", {"flwr": "1"}, body, longest=longest), 20)


def over(work: Callable[[SuperlinkLine], Awaitable[None]], *answers: bytes, end: bool = False) -> list[list[bytes]]:
    """Run ``work`` with a line to who says these answers; the requests, one list for each connection."""

    async def run() -> list[list[bytes]]:
        async with says(*answers, end=end) as (port, heard):
            with closing(SuperlinkLine("127.0.0.1", port, None)) as line:
                await work(line)
            return heard

    return asyncio.run(run())


def test_requests_follow_one_another_on_one_connection_and_say_what_was_given() -> None:
    async def twice(line: SuperlinkLine) -> None:
        assert await asked(line) == YES
        assert await asked(line, b"") == YES

    ((first, second),) = over(twice, OK)
    head, _, body = first.partition(b"\r\n\r\n")
    assert body == b"body"
    assert head.split(b"\r\n")[0] == b"POST /v1/fleet/x HTTP/1.1"
    assert b"flwr: 1" in head
    assert second.endswith(b"content-length: 0\r\nflwr: 1\r\n\r\n")


def test_a_header_goes_on_with_the_bytes_with_which_it_came() -> None:
    async def once(line: SuperlinkLine) -> None:
        given = {"flwr-signature": "caf\u00e9"}  # as Starlette reads headers: a byte is a character
        assert await line.exchange("POST", "/v1/fleet/x", given, b"", longest=100) == YES

    assert b"\r\nflwr-signature: caf\xe9\r\n" in over(once, OK)[0][0]


def test_a_large_body_and_an_answer_in_chunks_come_whole() -> None:
    body = bytes(range(256)) * (5 << 12)
    chunked = b"HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n1\r\n!\r\n0\r\n\r\n"

    async def once(line: SuperlinkLine) -> None:
        assert await asked(line, body) == Answered(404, "application/octet-stream", b"no!")

    assert over(once, chunked)[0][0].endswith(b"\r\n\r\n" + body)


def test_those_who_ask_at_once_have_connections_of_their_own() -> None:
    async def many(line: SuperlinkLine) -> None:
        assert await asyncio.gather(*(asked(line) for _ in range(5))) == [YES] * 5
        assert await asked(line) == YES

    heard = over(many, OK)
    assert sorted(map(len, heard)) == [1, 1, 1, 1, 2]


def test_an_answer_that_is_too_long_is_not_read_to_its_end_nor_its_connection_used_again() -> None:
    async def twice(line: SuperlinkLine) -> None:
        with pytest.raises(TooLongError):
            await asked(line, longest=2)
        assert await asked(line, longest=3) == YES

    assert list(map(len, over(twice, OK))) == [1, 1]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nyes",  # and the connection ends
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nyes",
        b"what?\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_whole_answer_is_none(said: bytes) -> None:
    async def twice(line: SuperlinkLine) -> None:
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await asked(line)

    assert list(map(len, over(twice, said, end=True))) == [1, 1]


def test_what_comes_unasked_answers_nobody() -> None:
    async def twice(line: SuperlinkLine) -> None:
        assert await asked(line) == YES
        assert await asked(line) == YES

    assert list(map(len, over(twice, OK + OK.replace(b"yes", b"lie"), OK))) == [1, 1]


def test_a_connection_that_the_superlink_closes_is_not_used_again() -> None:
    async def twice(line: SuperlinkLine) -> None:
        assert await asked(line) == YES
        await asyncio.sleep(0.2)
        assert await asked(line) == YES

    assert list(map(len, over(twice, OK, end=True))) == [1, 1]


def test_a_connection_whose_end_has_come_but_was_not_seen_yet_is_not_used_again() -> None:
    over = Event()

    class Once(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(OK)
            over.wait(20)

    async def twice(port: int) -> None:
        with closing(SuperlinkLine("127.0.0.1", port, None)) as line:
            assert await asked(line) == YES
            over.set()
            looks = select.poll()
            looks.register(line._free[0]._transport.get_extra_info("socket").fileno(), select.POLLIN)
            assert looks.poll(20_000), "the end has come, and this loop has seen nothing of it"
            assert await asked(line) == YES

    with ThreadingTCPServer(("127.0.0.1", 0), Once) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            asyncio.run(twice(server.server_address[1]))
        finally:
            server.shutdown()
            thread.join()


def test_nothing_is_sent_into_a_connection_that_the_superlink_may_be_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superlink_line, "_KEPT_S", 0.05)

    async def twice(line: SuperlinkLine) -> None:
        assert await asked(line) == YES
        await asyncio.sleep(0.1)
        assert await asked(line) == YES

    assert list(map(len, over(twice, OK))) == [1, 1]


def test_who_does_not_wait_leaves_no_answer_to_the_next() -> None:
    late = OK.replace(b"yes", b"old")

    async def twice(line: SuperlinkLine) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await line.exchange("POST", "/slow", {}, b"", longest=100)
        assert await asked(line) == YES

    assert list(map(len, over(twice, late[:-1], OK))) == [1, 1]


def test_nobody_is_asked_who_cannot_be_reached() -> None:
    async def once() -> None:
        with closing(SuperlinkLine("127.0.0.1", 9, None)) as line, pytest.raises(ConnectionError):
            await asked(line)

    asyncio.run(once())


def test_only_the_superlink_of_the_authority_is_believed(tmp_path: Path) -> None:
    ours, other = (LoopbackTls(folder) for folder in (tmp_path / "a", tmp_path / "b") if folder.mkdir() is None)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(ours.certificate, ours.key)

    async def once(authority: Path) -> Answered:
        trusted = ssl.create_default_context(cafile=str(authority))
        async with says(OK, trusted=shown) as (port, _):
            with closing(SuperlinkLine("127.0.0.1", port, trusted)) as line:
                return await asked(line)

    assert asyncio.run(once(ours.authority)) == YES
    with pytest.raises(ConnectionError, match="cannot be reached"):
        asyncio.run(once(other.authority))
