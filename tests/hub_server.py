"""A Hugging Face Hub on 127.0.0.1, enough of it for the unmodified client: `with LocalHub() as hub: hub.url`.

Repositories live in memory as commits of path -> bytes. Tests look at `hub.repos` and `hub.requests`, and make trouble
with `hub.fail`, which answers matching requests with an error, cuts the connection or keeps silent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml

LFS_SUFFIXES = (".safetensors", ".bin", ".pth", ".jpg", ".png")
FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---", re.DOTALL)


@dataclass
class Repo:
    """One repository: commits, the names that point to them, and what people think of it."""

    id: str
    type: str = "model"
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # branches, tags and refs/pr/N
    log: list[str] = field(default_factory=list)  # "<ref>: <message>" of every commit
    likes: int = 0
    downloads: int = 0

    def commit(
        self, files: Mapping[str, bytes], message: str = "", ref: str = "main", parent: str | None = None
    ) -> str:
        """Point `ref` to a new commit that holds exactly these files."""
        number = f"{self.id} {len(self.commits)} {parent}".encode()
        sha = hashlib.sha1(number + b"".join(k.encode() + v for k, v in sorted(files.items()))).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        self.log.append(f"{ref}: {message}")
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.resolve(revision)]

    def resolve(self, revision: str) -> str:
        sha = self.refs.get(revision, revision)
        if sha not in self.commits:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    def card(self, revision: str = "main") -> dict[str, Any]:
        found = FRONT_MATTER.match(self.files(revision).get("README.md", b"").decode())
        try:
            return (yaml.safe_load(found[1]) or {}) if found else {}
        except yaml.YAMLError:
            return {}

    def tags(self) -> list[str]:
        """What the Hub makes of a card: its tags, and those that it derives from other keys."""
        card = self.card()
        tags = list(card.get("tags", ()))
        tags += [card[key] for key in ("library_name", "pipeline_tag") if key in card]
        if base := card.get("base_model"):
            relation = card.get("base_model_relation")
            tags += [f"base_model:{base}", *([f"base_model:{relation}:{base}"] if relation else [])]
        return tags


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str = "", message: str = "", body: Any = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.body = status, code, message, body


@dataclass
class Trouble:
    """What happens to requests that match, `times` times."""

    pattern: re.Pattern[str]  # of "METHOD /path"
    status: int = 0
    code: str = ""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # close the connection: 0 before doing anything, n after n bytes of the answer's body
    silent: bool = False  # never answer
    call: Callable[[], None] | None = None  # do this, then answer as usual
    times: int = 1_000_000


class LocalHub:
    """The server; a context manager. `token` may read and write everything in the namespace `me`.

    As the Hub does, it hands large files to a storage at another address, which is to see no token: uploads in parts
    when `part_size` is set, downloads by a redirect when `linked` is.
    """

    token = "hf_me"
    user = "me"

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.stored: dict[str, bytes] = {}  # LFS objects by SHA-256
        self.requests: list[str] = []  # "METHOD /path?query"
        self.agents: set[str] = set()
        self.page_size = 100
        self.linked = False  # whether large files are read from the storage, with X-Linked-Etag and X-Linked-Size
        self.part_size: int | None = None  # bytes of a part of an upload; None uploads in one
        self.parts: dict[str, dict[int, bytes]] = {}  # uploaded so far, by SHA-256 and number
        self.renamed: dict[str, str] = {}  # old name -> new name: the old one redirects
        self.xet = False  # whether files are offered by Xet as well, which is spoken at no address here
        self.told: list[str] = []  # tokens that the storage was sent
        self.troubles: list[Trouble] = []
        self.lock = threading.RLock()
        self._closing = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._storage = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._storage.daemon_threads = True
        self.storage_url = f"http://127.0.0.1:{self._storage.server_address[1]}"

    def __enter__(self) -> LocalHub:
        for server in (self._server, self._storage):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for server in (self._server, self._storage):
            server.shutdown()
            server.server_close()

    def add(self, id: str, files: Mapping[str, bytes] | None = None, **fields: Any) -> Repo:
        """A repository made behind the client's back."""
        repo = self.repos[id] = Repo(id, **fields)
        repo.commit(files or {}, "initial commit")
        return repo

    def fail(self, pattern: str, **how: Any) -> Trouble:
        """Trouble for requests whose "METHOD /path" the pattern finds; see `Trouble`. Clear with `troubles.clear()`."""
        trouble = Trouble(re.compile(pattern), **how)
        self.troubles.append(trouble)
        return trouble

    def count(self, pattern: str) -> int:
        """How many requests so far the pattern finds."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def wait_silently(self) -> None:
        self._closing.wait(20)


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    # ---- plumbing

    def _answer(self) -> None:
        self.body = self._read()
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.agents.add(self.headers.get("User-Agent", ""))
        self.cut: int | None = None
        try:
            if trouble := self._trouble(f"{self.command} {url.path}"):
                if trouble.silent:
                    self.hub.wait_silently()
                    self.close_connection = True
                    return
                if trouble.cut == 0:
                    self.close_connection = True
                    return
                self.cut = trouble.cut
                if trouble.call:
                    trouble.call()
                if trouble.status:
                    raise Refusal(trouble.status, trouble.code, trouble.message, dict(trouble.headers))
            with self.hub.lock:
                if self.server is self.hub._storage:
                    self.hub.told += [token] if (token := self.headers.get("Authorization")) else []
                    self._serve_storage(url.path)
                elif moved := self._moved():
                    self._send(307, headers={"Location": moved})
                else:
                    self._route(url.path)
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message, "X-Request-Id": "req-1"}
            body = refusal.body if refusal.body is not None else {}
            headers |= {k: v for k, v in body.items() if k in ("Retry-After", "X-Repo-Commit")}
            body = {"error": refusal.message, **{k: v for k, v in body.items() if k not in headers}}
            self._send(refusal.status, json.dumps(body).encode(), {k: v for k, v in headers.items() if v})

    def _trouble(self, request: str) -> Trouble | None:
        with self.hub.lock:
            for trouble in self.hub.troubles:
                if trouble.times and trouble.pattern.search(request):
                    trouble.times -= 1
                    return trouble
        return None

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, data: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut is not None:
            self.wfile.write(data[: self.cut])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(data)

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        self._send(status, json.dumps(value).encode(), headers)

    # ---- who asks, and for what

    def _user(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        if not token:
            return None
        if token not in (self.hub.token, "hf_reader"):
            raise Refusal(401, "", "Invalid credentials in Authorization header")
        return self.hub.user if token == self.hub.token else "reader"

    def _repo(self, id: str, *, content: bool = False) -> Repo:
        user, repo = self._user(), self.hub.repos.get(id)
        if repo is None or (repo.private and user != id.partition("/")[0]):
            raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        if content and repo.gated and user != id.partition("/")[0]:
            raise Refusal(403, "GatedRepo", f"Access to model {id} is restricted")
        return repo

    def _writer(self, namespace: str) -> str:
        user = self._user()
        if user is None:
            raise Refusal(401, "", "Invalid username or password.")
        if user != namespace:
            raise Refusal(403, "", f"You don't have the rights to create a model under the namespace {namespace!r}")
        return user

    def _moved(self) -> str | None:
        """Where a renamed repo's address leads now; relative, as the Hub says it."""
        for old, new in self.hub.renamed.items():
            if found := re.match(rf"(/api/models)?/{old}(?=[/.?]|$)", self.path):
                return f"{found[1] or ''}/{new}{self.path[found.end() :]}"
        return None

    def _route(self, path: str) -> None:
        id = r"(?P<kind>models|spaces)/(?P<id>[^/]+/[^/]+)"
        routes: list[tuple[str, str, Callable[..., None]]] = [
            ("GET", r"/api/whoami-v2", self._whoami),
            ("POST", r"/api/validate-yaml", self._validate),
            ("POST", r"/api/repos/create", self._create),
            ("DELETE", r"/api/repos/delete", self._delete),
            ("GET", r"/api/models", self._list),
            ("POST", rf"/api/{id}/preupload/(?P<rev>[^/]+)", self._preupload),
            ("POST", rf"/api/{id}/commit/(?P<rev>[^/]+)", self._commit),
            ("POST", rf"/api/{id}/branch/(?P<rev>[^/]+)", self._branch),
            ("POST", rf"/api/{id}/tag/(?P<rev>[^/]+)", self._tag),
            ("GET", rf"/api/{id}/tree/(?P<rev>[^/]+)", self._tree),
            ("GET", rf"/api/{id}(?:/revision/(?P<rev>[^/]+))?", self._info),
            ("POST", r"/(?:spaces/)?(?P<id>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            ("POST", r"/lfs/complete", self._complete),
            ("POST", r"/lfs/verify", self._verify),
            ("HEAD", r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)", self._file),
            ("GET", r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<path>.+)", self._file),
        ]
        for method, pattern, answer in routes:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                parts = {k: unquote(v) for k, v in found.groupdict().items() if v is not None and k != "kind"}
                answer(**parts)
                return
        raise Refusal(404, "", f"No route {self.command} {path}")

    # ---- routes

    def _whoami(self) -> None:
        user = self._user()
        if user is None:
            raise Refusal(401, "", "Invalid username or password.")
        self._json({"type": "user", "name": user, "orgs": []})

    def _validate(self) -> None:
        found = FRONT_MATTER.match(json.loads(self.body)["content"])
        errors = []
        try:
            data = yaml.safe_load(found[1]) if found else {}
            if not isinstance(data, dict):
                errors.append({"message": "metadata must be a mapping"})
            else:
                if not isinstance(data.get("license", ""), str) or data.get("license") == "":
                    errors.append({"message": '"license" must be a string'})
                if not all(isinstance(tag, str) for tag in data.get("tags", [])):
                    errors.append({"message": '"tags" must be an array of strings'})
                if data.get("base_model_relation", "adapter") not in ("adapter", "finetune", "merge", "quantized"):
                    errors.append({"message": '"base_model_relation" must be one of adapter, finetune ...'})
                if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(data.get("base_model", "a/b"))):
                    errors.append({"message": '"base_model" must be a model id'})
        except yaml.YAMLError as error:
            errors.append({"message": str(error)})
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _create(self) -> None:
        wanted = json.loads(self.body)
        namespace = wanted.get("organization") or self._user() or ""
        self._writer(namespace)
        id = f"{namespace}/{wanted['name']}"
        prefix = "spaces/" if wanted.get("type") == "space" else ""
        url = f"{self.hub.url}/{prefix}{id}"
        if id in self.hub.repos:
            raise Refusal(409, "", "You already created this model repo", {"url": url})
        files = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
        self.hub.add(id, files, private=wanted.get("visibility") == "private", type=wanted.get("type") or "model")
        self._json({"url": url})

    def _delete(self) -> None:
        wanted = json.loads(self.body)
        self._writer(wanted["organization"])
        del self.hub.repos[f"{wanted['organization']}/{wanted['name']}"]
        self._json({})

    def _info(self, id: str, rev: str = "main") -> None:
        repo = self._repo(id)
        sha = repo.resolve(rev)
        described = self._described(repo, sha)
        if self.query.get("blobs"):
            for entry in described["siblings"]:
                data = repo.commits[sha][entry["rfilename"]]
                entry |= {"size": len(data), "blobId": _blob_oid(data)}
                if entry["rfilename"].endswith(LFS_SUFFIXES):
                    entry["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 130}
        self._json(described)

    def _described(self, repo: Repo, sha: str) -> dict[str, Any]:
        return {
            "id": repo.id,
            "author": repo.id.partition("/")[0],
            "sha": sha,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "likes": repo.likes,
            "downloads": repo.downloads,
            "tags": repo.tags(),
            "cardData": repo.card(),
            "siblings": [{"rfilename": name} for name in sorted(repo.commits[sha])],
        }

    def _list(self) -> None:
        one = {key: values[0] for key, values in self.query.items()}
        found = [
            repo
            for repo in self.hub.repos.values()
            if repo.type == "model"
            and (not repo.private or repo.id.startswith(f"{self._user()}/"))
            and all(tag in repo.tags() for tag in self.query.get("filter", []))
            and repo.id.startswith(f"{one['author']}/" if "author" in one else "")
            and one.get("search", "").lower() in repo.id.lower()
        ]
        if (sort := one.get("sort")) in ("likes", "downloads"):
            found.sort(key=lambda repo: -getattr(repo, sort))
        start, size = int(one.get("cursor", 0)), min(int(one.get("limit", 1000)), self.hub.page_size)
        allowed = {"id", *self.query["expand"]} if "expand" in self.query else {"id", "likes", "downloads", "tags"}
        page = [
            {k: v for k, v in self._described(repo, repo.refs["main"]).items() if k in allowed}
            for repo in found[start : start + size]
        ]
        link = {}
        if start + size < len(found):
            query = urlsplit(self.path).query.split("&cursor=")[0]
            link["Link"] = f'<{self.hub.url}/api/models?{query}&cursor={start + size}>; rel="next"'
        self._json(page, **link)

    def _tree(self, id: str, rev: str) -> None:
        files = self._repo(id, content=True).files(rev)
        entries = []
        for name, data in sorted(files.items()):
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": _blob_oid(data)}
            if name.endswith(LFS_SUFFIXES):
                entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self._json(entries)

    def _preupload(self, id: str, rev: str) -> None:
        repo = self._repo(id)
        self._user() or self._writer("")
        files = repo.files(rev)
        answer = []
        for file in json.loads(self.body)["files"]:
            lfs = file["path"].endswith(LFS_SUFFIXES)
            entry = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
            if (data := files.get(file["path"])) is not None:
                entry["oid"] = _sha256(data) if lfs else _blob_oid(data)
            answer.append(entry)
        self._json({"files": answer})

    def _batch(self, id: str) -> None:
        self._repo(id)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            entry: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.stored:
                verify = {"href": f"{self.hub.url}/lfs/verify"}
                entry["actions"] = {"upload": self._upload_of(wanted["oid"], wanted["size"]), "verify": verify}
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def _upload_of(self, oid: str, size: int) -> dict[str, Any]:
        if self.hub.part_size is None:
            return {"href": f"{self.hub.storage_url}/lfs/{oid}"}
        count = -(-size // self.hub.part_size)
        parts = {str(i): f"{self.hub.storage_url}/lfs/{oid}/{i}" for i in range(1, count + 1)}
        return {"href": f"{self.hub.url}/lfs/complete", "header": {"chunk_size": str(self.hub.part_size), **parts}}

    def _serve_storage(self, path: str) -> None:
        found = re.fullmatch(r"/lfs/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?", path)
        if not found:
            raise Refusal(404, "", f"No route {self.command} {path}")
        oid = found["oid"]
        if self.command != "PUT":
            self._content(self.hub.stored[oid], {"ETag": f'"{oid}"'})
        elif found["part"]:
            self.hub.parts.setdefault(oid, {})[int(found["part"])] = self.body
            self._send(200, headers={"ETag": f'"{_sha256(self.body)}"'})
        else:
            self._keep(oid, self.body)
            self._send(200)

    def _complete(self) -> None:
        """The parts of an upload as one file, if they are all there and what was sent is what arrived."""
        wanted = json.loads(self.body)
        parts = self.hub.parts.pop(wanted["oid"])
        numbers = [part["partNumber"] for part in wanted["parts"]]
        etags = [part["etag"] for part in wanted["parts"]]
        if numbers != sorted(parts) or etags != [f'"{_sha256(parts[i])}"' for i in numbers]:
            raise Refusal(400, "", "the parts are not those that were uploaded")
        self._keep(wanted["oid"], b"".join(parts[i] for i in numbers))
        self._json({})

    def _keep(self, oid: str, data: bytes) -> None:
        if _sha256(data) != oid:
            raise Refusal(400, "", "the content is not what its hash says")
        self.hub.stored[oid] = data

    def _verify(self) -> None:
        wanted = json.loads(self.body)
        if len(self.hub.stored.get(wanted["oid"], b"")) != wanted["size"]:
            raise Refusal(404, "", "no such object")
        self._json({})

    def _commit(self, id: str, rev: str) -> None:
        repo = self._repo(id)
        propose = self.query.get("create_pr") == ["1"]
        if not propose:
            self._writer(id.partition("/")[0])
        parent = repo.resolve(rev)
        files = dict(repo.commits[parent])
        message = ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"] + (f" | {value['description']}" if value.get("description") else "")
                if value.get("parentCommit", parent) != parent and not propose:
                    raise Refusal(412, "", "A commit has happened since. Please refresh and try again.")
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif item["key"] == "deletedFile":
                files.pop(value["path"], None)
            elif item["key"] == "deletedFolder":
                files = {k: v for k, v in files.items() if not k.startswith(value["path"].rstrip("/") + "/")}
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repo.refs)
        sha = repo.commit(files, message, f"refs/pr/{number}" if propose else rev, parent)
        prefix = "spaces/" if repo.type == "space" else ""
        answer = {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{prefix}{id}/commit/{sha}"}
        if propose:
            answer["pullRequestUrl"] = f"{self.hub.url}/{prefix}{id}/discussions/{number}"
        self._json(answer)

    def _branch(self, id: str, rev: str) -> None:
        repo = self._repo(id)
        self._writer(id.partition("/")[0])
        if rev in repo.refs:
            raise Refusal(409, "", f"Reference refs/heads/{rev} already exists")
        repo.refs[rev] = repo.resolve((json.loads(self.body or b"{}")).get("startingPoint", "main"))
        self._json({}, 201)

    def _tag(self, id: str, rev: str) -> None:
        repo = self._repo(id)
        self._writer(id.partition("/")[0])
        repo.refs[json.loads(self.body)["tag"]] = repo.resolve(rev)
        self._json({}, 201)

    def _file(self, id: str, rev: str, path: str) -> None:
        repo = self._repo(id, content=True)
        sha = repo.resolve(rev)
        data = repo.commits[sha].get(path)
        if data is None:
            raise Refusal(404, "EntryNotFound", f"Entry not found: {path}", {"X-Repo-Commit": sha})
        lfs = path.endswith(LFS_SUFFIXES)
        etag = _sha256(data) if lfs else _blob_oid(data)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{etag}"'}
        if lfs and self.hub.xet:
            headers |= {
                "X-Xet-Hash": etag,
                "X-Xet-Refresh-Route": f"{self.hub.url}/api/models/{id}/xet-read-token/{sha}",
            }
        if lfs and self.hub.linked:
            self.hub.stored[etag] = data
            linked = {"ETag": '"of the redirect"', "X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
            self._send(302, headers=headers | linked | {"Location": f"{self.hub.storage_url}/lfs/{etag}"})
        else:
            self._content(data, headers)

    def _content(self, data: bytes, headers: dict[str, str]) -> None:
        headers["Content-Type"] = "application/octet-stream"
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and 0 < int(start[1]) < len(data):
            first = int(start[1])
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self._send(206, data[first:], headers)
        else:
            self._send(200, data, headers)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob_oid(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


def address(hub: LocalHub, repo: str, path: str, revision: str = "main") -> str:
    """The address of one file."""
    return f"{hub.url}/{repo}/resolve/{quote(revision, safe='')}/{path}"
