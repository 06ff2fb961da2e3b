"""Google Cloud Storage for the tests: gcp-storage-emulator, and what Google's has and the emulator doesn't: tokens that are
checked, listings in pages, ranges beyond the end, batches in Google's form, uploads in parts, and requests side by side.

After https://cloud.google.com/storage/docs/json_api and https://cloud.google.com/storage/docs/xml-api."""

import io
import json
import threading
import uuid
import xml.etree.ElementTree as xml
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer

from gcp_storage_emulator import server
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.storage import Storage

BUCKET = "backups"
OBJECTS = rf"^/storage/v1/b/(?P<bucket_name>{BUCKET})/o"
PAGE_COUNT = 1000
PART_BYTES_MIN = 5 << 20
NO_DELETE = "no storage.objects.delete access"

# Everything of the emulator's; it knows of no second thread.
LOCK = threading.Lock()
# By its id: the object's name, and the parts by number.
UPLOADS = {}


class Handler(server.RequestHandler):
    """One request. What comes and what goes passes through memory, so that nobody waits for the lock's holder's client."""

    def __init__(self, tokens, *args):
        self.tokens = tokens
        super().__init__(*args)

    def answer(self, method):
        to_client, length = self.wfile, int(self.headers.get("Content-Length") or 0)
        self.rfile, self.wfile = io.BytesIO(self.rfile.read(length)), io.BytesIO()
        granted = self.tokens.get(self.headers.get("Authorization", ""))
        with LOCK:
            if granted is None:
                self.refuse(HTTPStatus.UNAUTHORIZED, "Invalid Credentials")
            elif method == "DELETE" and "uploadId=" not in self.path and not granted["deletes"]:
                self.refuse(HTTPStatus.FORBIDDEN, NO_DELETE)
            else:
                self.deletes = granted["deletes"]
                server.Router(self).handle(method)
        to_client.write(self.wfile.getvalue())
        self.wfile = to_client

    def refuse(self, status, message):
        response = server.Response(self)
        response.status = status
        response.json({"error": {"code": status, "message": message, "errors": []}})
        response.close()

    def do_GET(self):
        self.answer("GET")

    def do_POST(self):
        self.answer("POST")

    def do_PUT(self):
        self.answer("PUT")

    def do_DELETE(self):
        self.answer("DELETE")


def of_bucket(request, response, storage):
    """A listing in pages: what comes after the last name of the page before."""
    objects.ls(request, response, storage)
    if response.status != HTTPStatus.OK:
        return
    listed = json.loads(response._content)
    rows = [("items", item["name"], item) for item in listed["items"]]
    rows += [("prefixes", prefix, prefix) for prefix in listed["prefixes"]]
    after = request.query.get("pageToken", [""])[0]
    rows = sorted((row for row in rows if row[1] > after), key=lambda row: row[1])
    count = min(PAGE_COUNT, int(request.query.get("maxResults", [PAGE_COUNT])[0]))
    page = {"kind": "storage#objects", "items": [], "prefixes": []}
    for kind, _, row in rows[:count]:
        page[kind].append(row)
    if len(rows) > count:
        page["nextPageToken"] = rows[count - 1][1]
    response.json(page)


def get(request, response, storage):
    """An object, or what is known of it. Of a range that begins beyond the end there is nothing."""
    objects.get(request, response, storage)
    if response.status == HTTPStatus.PARTIAL_CONTENT and not response._content:
        response.status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE


def batch(request, response, storage):
    """Several deletions in one request."""
    if request._request_handler.deletes:
        objects.batch(request, response, storage)
        head = "Content-Type: application/http\r\n"
        response._content = response._content.replace(head + "HTTP/", head + "\r\nHTTP/")
        return
    boundary = "batch_of_refusals"
    response["Content-Type"] = f"multipart/mixed; boundary={boundary}"
    refusal = json.dumps({"error": {"code": 403, "message": NO_DELETE, "errors": []}})
    for _ in request.data:
        response.write(f"--{boundary}\r\nContent-Type: application/http\r\n\r\n")
        response.write("HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n")
        response.write(f"{refusal}\r\n\r\n")
    response.write(f"--{boundary}--")


def upload_of(request, response):
    found = UPLOADS.get(request.query.get("uploadId", [""])[0])
    if found is None:
        xml_error(response, HTTPStatus.NOT_FOUND, "NoSuchUpload")
    return found


def xml_error(response, status, code):
    response.status = status
    response.write_file(f"<Error><Code>{code}</Code></Error>", "application/xml")


def put_part(request, response, _storage):
    upload = upload_of(request, response)
    if upload is not None:
        body = request.data or b""
        tag = f'"{objects._md5(body)}"'
        upload["parts"][int(request.query["partNumber"][0])] = (tag, body)
        response["ETag"] = tag


def begin_or_complete(request, response, storage):
    if request._parsed_url.query == "uploads":
        name = uuid.uuid4().hex
        UPLOADS[name] = {"object": request.params["object_id"], "parts": {}}
        answer = "InitiateMultipartUploadResult"
        text = f"<{answer}><Bucket>{BUCKET}</Bucket><UploadId>{name}</UploadId></{answer}>"
        response.write_file(text, "application/xml")
        return
    upload = upload_of(request, response)
    if upload is not None:
        complete(request, response, storage, upload)


def complete(request, response, storage, upload):
    wanted = [
        (int(part.find("PartNumber").text), part.find("ETag").text)
        for part in xml.fromstring(request.data).iter("Part")
    ]
    there = [(number, tag) for number, (tag, _) in sorted(upload["parts"].items())]
    if wanted != there:
        return xml_error(response, HTTPStatus.BAD_REQUEST, "InvalidPart")
    bodies = [upload["parts"][number][1] for number, _ in wanted]
    if any(len(body) < PART_BYTES_MIN for body in bodies[:-1]):
        return xml_error(response, HTTPStatus.BAD_REQUEST, "EntityTooSmall")
    body, kind = b"".join(bodies), "application/octet-stream"
    made = objects._make_object_resource(
        request.base_url, BUCKET, upload["object"], kind, str(len(body))
    )
    storage.create_file(BUCKET, upload["object"], body, objects._checksums(body, made))
    del UPLOADS[request.query["uploadId"][0]]
    response.write_file("<CompleteMultipartUploadResult/>", "application/xml")
    return None


def abort(request, response, _storage):
    if upload_of(request, response) is not None:
        del UPLOADS[request.query["uploadId"][0]]
        response.status = HTTPStatus.NO_CONTENT


class Quick(Storage):
    """What it knows is written after each change: in the form that takes a tenth of the time."""

    def _write_config_to_file(self):
        names = ["buckets", "objects", "resumable", "bucket_iam_policies", "soft_deleted"]
        known = {name: getattr(self, name) for name in names}
        self._store.write_bytes(".meta", json.dumps(known).encode())


def mend_emptiness():
    """What is sent without a type has none in the emulator, and what is sent without bytes stops it."""
    type_of, data_of = objects._content_type_from_request, server._read_data
    objects._content_type_from_request = (
        lambda request, default=None: type_of(request, default) or "application/octet-stream"
    )
    server._read_data = lambda handler, query: data_of(handler, query) or b""


def serve(port, directory, token, append_token):
    """The bucket `backups` below the directory, for whoever has the token, or one with which nothing can be deleted."""
    storage = Quick(data_dir=directory)
    bucket = buckets.create_bucket(BUCKET, storage) or storage.get_bucket(BUCKET)
    bucket["softDeletePolicy"] = {"retentionDurationSeconds": 0}
    server.HANDLERS = (
        (OBJECTS + "$", {"GET": of_bucket}),
        (OBJECTS + r"/(?P<object_id>.+)$", {"GET": get, "DELETE": objects.delete}),
        (r"^/batch/storage/v1$", {"POST": batch}),
        (
            rf"^/{BUCKET}/(?P<object_id>.+)$",
            {"PUT": put_part, "POST": begin_or_complete, "DELETE": abort},
        ),
        *server.HANDLERS,
    )
    mend_emptiness()
    tokens = {f"Bearer {token}": {"deletes": True}, f"Bearer {append_token}": {"deletes": False}}
    ThreadingHTTPServer.request_queue_size = 100
    handler = partial(Handler, tokens, storage)
    ThreadingHTTPServer(("127.0.0.1", int(port)), handler).serve_forever()
