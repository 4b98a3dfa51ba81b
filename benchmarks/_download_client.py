"""Fifty downloads at once, each over a connection of its own, from a server on loopback; prints MB (10^6) a second.

    python _download_client.py gateway|plain|clear FOLDER DOWNLOADS

Threads read into one buffer each and keep nothing: the client costs as little as it can, and the same for all servers.
"""

import http.client
import json
import secrets
import ssl
import sys
import threading
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from skerry.security.http_signature import sign_request


def main(kind: str, folder: Path, downloads: int) -> None:
    port = json.loads((folder / "ready.json").read_text(encoding="utf-8"))["port"]
    key = load_pem_private_key((folder / "device.key").read_bytes(), None)
    (blob,) = (folder / "repository" / "blobs").iterdir()
    size = blob.stat().st_size
    path = f"/v1/blobs/{blob.name}" if kind == "gateway" else f"/blobs/{blob.name}"
    trusted = None if kind == "clear" else ssl.create_default_context(cafile=str(folder / "authority.pem"))
    start = threading.Barrier(downloads + 1)
    wrong: list[str] = []

    def download(index: int) -> None:
        headers = {}
        if kind == "gateway":
            headers = sign_request(
                "GET",
                path,
                b"",
                key_id=f"device-{index}",
                sign=lambda message: key.sign(message, ec.ECDSA(SHA256())),
                created=int(time.time()),
                nonce=secrets.token_urlsafe(16),
            )
        connection = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            if trusted is None
            else http.client.HTTPSConnection("127.0.0.1", port, timeout=120, context=trusted)
        )
        buffer = memoryview(bytearray(256 << 10))
        start.wait()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        got = 0
        while count := answer.readinto(buffer):
            got += count
        if (answer.status, got) != (200, size):
            wrong.append(f"{answer.status}, {got} of {size} bytes")
        connection.close()

    threads = [threading.Thread(target=download, args=(index,)) for index in range(downloads)]
    for thread in threads:
        thread.start()
    start.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begin
    if wrong:
        sys.exit(f"{len(wrong)} downloads failed: {wrong[0]}")
    print(json.dumps({"mb_per_s": downloads * size / 1e6 / wall}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
