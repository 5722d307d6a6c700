"""The few things gcloud has no command for: ask what one may do, and publish a frame as it is."""

import asyncio
import base64
import json
import os
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import urllib3

from deploy.errors import CloudError
from deploy.permissions import Resource
from deploy.programs import run
from quotewatch.message import Message

_BASES = {"storage": "https://storage.googleapis.com/storage/v1"}
_NOT_FOUND = 404
_TRIES = 3
_AT_ONCE = 16
_TIMEOUT = urllib3.Timeout(connect=5.0, read=20.0)
# Asking may be repeated, and a probe that is published twice is one frame.
_RETRIES = urllib3.Retry(
    _TRIES, backoff_factor=0.2, status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None, raise_on_status=False,
)  # fmt: skip


def base_of(api: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return where an API is: gcloud's own variable can name another place."""
    named = environment.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}")
    return (named or _BASES.get(api) or f"https://{api}.googleapis.com").rstrip("/")


class Cloud:
    """Calls with one account's token."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._pool = urllib3.PoolManager(maxsize=_AT_ONCE, timeout=_TIMEOUT, retries=_RETRIES)

    async def allowed(self, resource: Resource) -> Collection[str] | None:
        """Return which permissions one has on something; None if it says that it is not there."""
        url = f"{base_of(resource.api)}/{resource.path}"
        if resource.api == "storage":
            asked = urlencode([("permissions", each) for each in resource.permissions])
            answer = await self._call("GET", f"{url}?{asked}", None)
        else:
            answer = await self._call("POST", url, {"permissions": resource.permissions})
        if answer.status == _NOT_FOUND:
            return None
        return frozenset(_body(answer, url).get("permissions", ()))

    async def publish(self, project: str, topic: str, message: Message) -> None:
        """Publish a message."""
        url = f"{base_of('pubsub')}/v1/projects/{project}/topics/{topic}:publish"
        data = base64.b64encode(message.data).decode()
        body = {"messages": [{"data": data, "attributes": dict(message.attributes)}]}
        answer = await self._call("POST", url, body)
        if not _body(answer, url).get("messageIds"):
            raise CloudError(f"{url}: took no message; look at the topic {topic}")

    async def now(self, resource: Resource) -> datetime:
        """Return the cloud's time: this machine's clock may be minutes off."""
        body = {"permissions": resource.permissions}
        return _date(await self._call("POST", f"{base_of(resource.api)}/{resource.path}", body))

    async def _call(self, method: str, url: str, body: object) -> urllib3.BaseHTTPResponse:
        sent = None if body is None else json.dumps(body)

        def call() -> urllib3.BaseHTTPResponse:
            return self._pool.request(method, url, body=sent, headers=self._headers)

        try:
            return await asyncio.to_thread(call)
        except urllib3.exceptions.HTTPError as error:
            raise CloudError(f"{url}: no answer: {error}; is this machine online?") from error


async def signed_in() -> Cloud:
    """Return calls with a token of this moment: one lasts an hour, or what is left of it."""
    ran = await run(["gcloud", "auth", "print-access-token"])
    return Cloud(ran.must().output.strip())


def _body(answer: urllib3.BaseHTTPResponse, url: str) -> Mapping[str, Any]:
    text = answer.data.decode(errors="replace")
    if answer.status // 100 != 2:  # noqa: PLR2004 - HTTP's success
        raise CloudError(f"{url}: {answer.status}: {_reason(text)}")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CloudError(f"{url}: no JSON: {text[:200]!r}") from error
    return found if isinstance(found, dict) else {}


def _reason(text: str) -> str:
    """Return what an API says is wrong, in its own words if they can be found."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200] or "no reason given"


def _date(answer: urllib3.BaseHTTPResponse) -> datetime:
    told = answer.headers.get("Date")
    return parsedate_to_datetime(told) if told else datetime.now(UTC)
