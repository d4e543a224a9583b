"""A hub on this machine that speaks the HTTP of huggingface.co: files at commits, gates, tokens, LFS, and its faults.

    with serve() as hub:
        revision = hub.commit("model", "a/model", {"config.json": b"{}"})
        hub.repo("model", "a/model").gated = True
        hub.faults["config.json"] = "cut"            # or "hang", or a status such as 429
        subprocess.run(..., env=os.environ | hub.environment(home))

What `huggingface_hub` 2.4 asks for is answered and nothing else. Files of `LFS` go the way of large files: sent as LFS
objects, fetched by a redirect whose headers hold size and hash.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import huggingface_hub.constants as constants
from huggingface_hub import close_session

LFS = (".safetensors", ".bin", ".parquet")
LOCAL = "127.0.0.1,localhost"
# A token that may read and write everything, and one that the hub does not know.
TOKEN, UNKNOWN_TOKEN = "hf_allowed", "hf_unknown"


@dataclass
class Repo:
    """A repository: files by path at each commit, the commit of `main`, and who may see it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = ""
    gated: bool = False
    private: bool = False


class Hub(http.server.ThreadingHTTPServer):
    """The repositories, what was fetched and written, and what shall go wrong."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, authorization
        self.faults: dict[str, str | int] = {}
        self.replaced: dict[str, bytes] = {}  # what is kept of a file that is uploaded, by its name
        self.closing = threading.Event()

    def repo(self, kind, id):
        return self.repos.setdefault((kind, id), Repo())

    def commit(self, kind, id, files):
        """A new commit of `main` with exactly these files; its hash."""
        repo = self.repo(kind, id)
        content = [(name, hashlib.sha1(data).hexdigest()) for name, data in sorted(files.items())]
        repo.main = hashlib.sha1(json.dumps([repo.main, content]).encode()).hexdigest()
        repo.commits[repo.main] = dict(files)
        return repo.main

    def environment(self, home, **env):
        """What to set so that a process takes this hub for the real one: an empty cache at `home`, no token."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_TOKEN": "",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": LOCAL,
            "no_proxy": LOCAL,
            **env,
        }


@contextmanager
def serve():
    """A hub that answers until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.shutdown()
        thread.join()
        hub.server_close()


@contextmanager
def serve_here(monkeypatch, home):
    """A hub that this process itself takes for the real one; it does not wait before it asks again."""
    with serve() as hub:
        for name, value in {
            "ENDPOINT": hub.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        for name, value in hub.environment(home).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield hub
        close_session()


def files_of(folder):
    """The files of a folder by their path in it, as `Hub.commit` takes them."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request: found by its address, refused by who asks, answered."""

    protocol_version = "HTTP/1.1"
    ROUTES = (
        ("GET", r"/api/(model|dataset)s/([^/]+/[^/]+)/revision/([^/]+)", "about"),
        ("GET", r"/api/(model|dataset)s/([^/]+/[^/]+)/tree/([^/]+)", "tree"),
        ("GET", r"/api/(model|dataset)s/([^/]+/[^/]+)", "about"),
        ("GET", r"/(?:(dataset)s/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
        ("GET", r"/lfs/(\w+)/(.+)", "download"),
        ("PUT", r"/lfs/(\w+)", "upload"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/(model)s/([^/]+/[^/]+)/preupload/main", "preupload"),
        ("POST", r"/()([^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
        ("POST", r"/api/(model)s/([^/]+/[^/]+)/commit/main", "receive"),
    )

    def do_GET(self):
        address = unquote(self.path.split("?")[0])
        hub, length = self.server, int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        hub.requests.append((self.command, address, self.headers.get("Authorization")))
        fault = next((fault for end, fault in hub.faults.items() if address.endswith(end)), None)
        if fault == "hang":
            self.close_connection = True
            hub.closing.wait(60)
        elif isinstance(fault, int):
            self.answer(b"", status=fault)
        else:
            self.cut = fault == "cut"
            method = "GET" if self.command == "HEAD" else self.command
            for expected, pattern, name in self.ROUTES:
                match = re.fullmatch(pattern, address)
                if match and method == expected:
                    return getattr(self, name)(*match.groups())
            self.answer(b"", status=404)
        return None

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *args):
        pass

    def answer(self, content, status=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if start and status == 200:
            status, body, total = 206, body[int(start[1]) :], len(body)
            headers["Content-Range"] = f"bytes {start[1]}-{total - 1}/{total}"
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut and status in (200, 206):
            # Half the first time; to whoever asks for the rest, nothing.
            body, self.close_connection = b"" if start else body[: len(body) // 2], True
        self.wfile.write(body)

    cut = False

    def refuse(self, status, code, message=""):
        self.answer(b"", status=status, X_Error_Code=code, X_Error_Message=message)

    def files(self, kind, id, revision=None):
        """The commit that was asked for and its files, or None where that was refused."""
        repo = self.server.repos.get((kind or "model", id))
        if self.token == UNKNOWN_TOKEN:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        if repo is None or (repo.private and self.token != TOKEN):
            return self.refuse(404 if self.token else 401, "RepoNotFound", "Repository not found")
        if repo.gated and self.token != TOKEN:
            return self.refuse(403 if self.token else 401, "GatedRepo", f"Access to {kind} {id} is restricted")
        commit = repo.main if revision in (None, "main") else revision
        if commit not in repo.commits:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repo.commits[commit]

    def about(self, kind, id, revision=None):
        if found := self.files(kind, id, revision):
            names = [{"rfilename": name} for name in found[1]]
            private = self.server.repo(kind, id).private
            self.answer({"id": id, "sha": found[0], "private": private, "tags": [], "siblings": names})

    def tree(self, kind, id, revision):
        if found := self.files(kind, id, revision):
            self.answer([_listed(name, data) for name, data in found[1].items()], Content_Type="application/json")

    def resolve(self, kind, id, revision, name):
        found = self.files(kind, id, revision)
        if not found:
            return
        commit, files = found
        if name not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        data, entry = files[name], _listed(name, files[name])
        if "lfs" not in entry:
            if self.command == "GET":
                self.server.fetched.append(name)
            self.answer(data, ETag=f'"{entry["oid"]}"', X_Repo_Commit=commit)
            return
        oid = entry["lfs"]["oid"]
        self.server.objects[oid] = data
        large = {"X_Linked_Size": len(data), "X_Linked_ETag": f'"{oid}"', "X_Repo_Commit": commit}
        # To another host, as the real one does: the client reads the headers here and asks there.
        there = self.server.endpoint.replace("127.0.0.1", "localhost")
        self.answer(b"", status=302, Location=f"{there}/lfs/{oid}/{name}", **large)

    def download(self, oid, name):
        self.server.fetched.append(name)
        self.answer(self.server.objects[oid], ETag=f'"{oid}"')

    def allowed(self):
        if self.token != TOKEN:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        return self.token == TOKEN

    def validate(self):
        self.answer({"errors": [], "warnings": []})

    def create(self):
        asked = json.loads(self.body)
        id = f"{asked['organization']}/{asked['name']}"
        if not self.allowed():
            return
        if ("model", id) in self.server.repos:
            self.answer({"error": "You already created this model repo", "url": f"{self.server.endpoint}/{id}"}, 409)
            return
        self.server.commit("model", id, {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.server.repo("model", id).private = asked.get("visibility") == "private"
        self.answer({"url": f"{self.server.endpoint}/{id}", "name": id})

    def preupload(self, kind, id):
        if self.allowed() and (found := self.files(kind, id)):
            there = {name: _listed(name, data) for name, data in found[1].items()}
            self.answer(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular",
                            "shouldIgnore": False,
                            "oid": there.get(file["path"], {}).get("lfs", there.get(file["path"], {})).get("oid"),
                        }
                        for file in json.loads(self.body)["files"]
                    ]
                }
            )

    def batch(self, kind, id):
        if self.allowed() and self.files(kind, id):
            self.answer(
                {
                    "transfer": "basic",
                    "objects": [
                        one | {"actions": {"upload": {"href": f"{self.server.endpoint}/lfs/{one['oid']}"}}}
                        for one in json.loads(self.body)["objects"]
                    ],
                }
            )

    def upload(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            self.answer(b"", status=400)
            return
        self.server.objects[oid] = self.body
        self.answer(b"")

    def receive(self, kind, id):
        if not (self.allowed() and (found := self.files(kind, id))):
            return
        files = dict(found[1])
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.server.commit(kind, id, files | self.server.replaced)
        self.answer({"commitUrl": f"{self.server.endpoint}/{id}/commit/{commit}", "commitOid": commit})


def _listed(name, data):
    """A file as a tree of the hub lists it; the id of a small one is Git's."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry = {"type": "file", "path": name, "size": len(data), "oid": git}
    if name.endswith(LFS):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
