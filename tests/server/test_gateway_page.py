"""The page for browsers is served as it was built, under a policy that runs nothing else, and nothing beside it is."""

import pytest

from ._gateway import reason, running

FILES = {
    "index.html": b"<!doctype html><title>the page</title>",
    "manifest.webmanifest": b"{}",
    "icon.svg": b"<svg/>",
    "icon.png": b"\x89PNG",
    "sw.js": b"self",
    "assets/ort-Ab_1.wasm": b"\0asm",
    "assets/ort-Ab_1.mjs": b"export {}",
    "check.html": b"<!doctype html><title>a page</title>",
    "assets/check-Ab_1.js": b"x" * 200_000,
    "assets/check-Ab_1.css": b"body {}",
    "licenses.txt": b"whose code is in it",
}
KINDS = {
    "html": "text/html",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "css": "text/css",
    "txt": "text/plain",
    "wasm": "application/wasm",
    "webmanifest": "application/manifest+json",
    "svg": "image/svg+xml",
    "png": "image/png",
}
PACKED = b"the same, packed"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    for name, content in FILES.items():
        path = folder / "page" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "page" / "assets" / "check-Ab_1.css.br").write_bytes(PACKED)
    (folder / "secret.html").write_bytes(b"a secret")
    (folder / "page" / "link.html").symlink_to(folder / "secret.html")
    (folder / "page" / "key.pem").write_bytes(b"a key")
    with running(folder) as gateway:
        (folder / "page" / "late.html").write_bytes(b"put there later")
        yield gateway


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_as_it_was_built(served, name):
    answer = served.client.get(f"/phone/{name}")
    assert (answer.status_code, answer.content) == (200, FILES[name])
    assert answer.headers["content-type"].split(";")[0] == KINDS[name.rsplit(".")[-1]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    kept = "immutable" if name.startswith("assets/") else "no-store"  # only names that change with the content are kept
    assert kept in answer.headers["cache-control"]


def test_the_policy_lets_the_page_run_its_own_files_and_nothing_else(served):
    answer = served.client.get("/phone/check.html")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    own = ("style-src", "connect-src", "worker-src", "manifest-src")
    assert {policy[name] for name in own} == {"'self'"}
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"  # compiles WebAssembly; eval() stays forbidden
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert answer.headers["content-security-policy"].count("unsafe") == 1


@pytest.mark.parametrize("name", FILES)
def test_every_file_lets_the_page_have_threads_and_no_other_origin_embed_it(served, name):
    headers = served.client.get(f"/phone/{name}").headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_page_is_where_an_invitation_s_link_leads(served):
    assert served.client.get("/phone/").content == FILES["index.html"]
    sent = served.client.get("/phone", follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (308, "/phone/")


def test_what_the_build_packed_is_sent_so_to_whoever_reads_it(served):
    name = "/phone/assets/check-Ab_1.css"
    for accepted, content, encoding in (
        ("gzip, br", PACKED, "br"),
        ("gzip", FILES["assets/check-Ab_1.css"], None),
        ("br;q=0", FILES["assets/check-Ab_1.css"], None),
    ):
        with served.client.stream("GET", name, headers={"accept-encoding": accepted}) as answer:
            assert b"".join(answer.iter_raw()) == content
        assert answer.headers.get("content-encoding") == encoding
        assert answer.headers["vary"] == "accept-encoding"
        assert answer.headers["content-type"].startswith("text/css")
    assert served.client.get(f"{name}.br").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "secret.html",
        "link.html",
        "key.pem",
        "late.html",
        "assets",
        "assets/",
        "check.htm",
        "CHECK.html",
        "__init__.py",
    ],
)
def test_nothing_else_is_served(served, path):
    answer = served.client.get(f"/phone/{path}")
    assert answer.status_code in {400, 404}
    assert reason(answer) in {"no_such_place", "bad_target"}


@pytest.mark.parametrize("path", ["../secret.html", "assets/../../secret.html", "%2e%2e/secret.html", "check.html?x=1"])
def test_no_spelling_leads_out_of_the_page(served, path):
    answer = served.raw(f"GET /phone/{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"a secret" not in answer


def test_where_nobody_built_the_page_the_gateway_says_so(tmp_path):
    with running(tmp_path) as gateway:
        answer = gateway.client.get("/phone/check.html")
        assert answer.status_code == 404
        said = answer.json()["error"]["what"]
        assert "holds no page" in said
        assert "make wheel" in said
