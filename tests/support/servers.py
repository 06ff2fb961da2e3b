"""One of the servers of the tests, and what they need once they run: buckets, containers, users. Prints what the tests
have to know."""

import base64
import hashlib
import hmac
import json
import sys
import time
import urllib.parse
import urllib.request
from email.utils import formatdate


def serve_s3(port):
    """moto, with signatures checked on the address in its canonical form: its own check takes the query as it is, which
    doesn't fit where that was sent with a plain slash."""
    from flask import request
    from moto.iam.access_control import IAMRequestBase
    from moto.server import main

    of_moto = IAMRequestBase._create_aws_request

    def create(self):
        made = of_moto(self)
        path, _, query = request.environ["RAW_URI"].partition("?")
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
        query = urllib.parse.urlencode(sorted(pairs), quote_via=urllib.parse.quote, safe="-_.~")
        made.url = f"{path}?{query}" if query else path
        return made

    IAMRequestBase._create_aws_request = create
    main(["-H", "127.0.0.1", "-p", port])


def serve_ftp(port, user, password, directory):
    """pyftpdlib with a user who may do everything, and one called append who may delete nothing."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

    FTPHandler.authorizer = DummyAuthorizer()
    FTPHandler.authorizer.add_user(user, password, directory, perm="elradfmwMT")
    FTPHandler.authorizer.add_user("append", password, directory, perm="elrafmwMT")
    FTPServer(("127.0.0.1", int(port)), FTPHandler).serve_forever()


def serve_gcs(port, *rest):
    import gcs

    gcs.serve(port, *rest)


def s3(port):
    """A bucket, a user who may do everything, one who may delete nothing; from then on moto checks signatures."""
    import boto3

    at = f"http://127.0.0.1:{port}"

    def client(name):
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
        return boto3.client(name, endpoint_url=at, region_name="us-east-1", **keys)

    client("s3").create_bucket(Bucket="backups")
    iam = client("iam")
    for name, actions in [("all", ["s3:*"]), ("append", ["s3:Get*", "s3:List*", "s3:Put*"])]:
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        print(key["AccessKeyId"], key["SecretAccessKey"])
    headers = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{at}/moto-api/reset-auth", b"0", headers, method="POST")
    urllib.request.urlopen(request).read()


def azure(port, account, key):
    """A container, by a request that is signed as Azure wants it."""
    date, version = formatdate(usegmt=True), "2021-12-02"
    path = f"/{account}/backups"
    headers = f"x-ms-date:{date}\nx-ms-version:{version}\n"
    text = "PUT" + "\n" * 12 + headers + f"/{account}{path}\nrestype:container"
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    signature = base64.b64encode(digest).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {account}:{signature}",
        },
    )
    urllib.request.urlopen(request).read()


def until(port, work):
    """The server may have its port and not be ready yet."""
    for attempt in range(100):
        try:
            return work()
        except OSError:
            if attempt == 99:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    kind, port, *rest = sys.argv[1:]
    if kind.startswith("serve-"):
        {"serve-s3": serve_s3, "serve-ftp": serve_ftp, "serve-gcs": serve_gcs}[kind](port, *rest)
        sys.exit()
    until(port, lambda: {"s3": s3, "azure": azure}[kind](port, *rest))
