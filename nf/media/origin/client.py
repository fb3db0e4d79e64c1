"""The S3 API of an origin, with credentials: few calls, each bounded, errors in the house's words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, TypeVar

from nf.contracts.json import Json
from nf.errors import DeniedError, DriverError, NfError, RefusedError, StorageError, UnavailableError
from nf.trust.secrets import Credentials

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 5.0
OWNER_TAG: Final = "streamverse-nf"
_BATCH: Final = 1000
"""Keys in one request for deletion or of one listing (S3 API, DeleteObjects and ListObjectsV2)."""

_DENIED: Final = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "403"})
_FULL: Final = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "EntityTooLarge", "507"})
_ABSENT: Final = frozenset(
    {"NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchBucketPolicy", "NoSuchTagSet", "404"}
) | {"NoSuchLifecycleConfiguration"}
_SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_NOT_OFFERED: Final = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})
_STATEMENT: Final = "AnybodyReads"
_RETENTION: Final = ("retention", "window")
RETENTION_DAYS: Final = 1
_NO_UPLOAD: Final = "0" * 32
_STRANGE: Final = (AttributeError, LookupError, TypeError, ValueError)
_CORS: Final[dict[str, Json]] = {
    "AllowedMethods": ["GET", "HEAD"],
    "AllowedOrigins": ["*"],
    "AllowedHeaders": ["*"],
    "ExposeHeaders": ["Date", "ETag", "Content-Length", "Content-Range"],
    "MaxAgeSeconds": 86_400,
}


class AbsentError(NfError):
    """There is no such bucket, object or setting. Stays inside this domain."""


class NotOfferedError(NfError):
    """The endpoint does not know the call. Stays inside this domain."""


class SkewError(DeniedError):
    """The origin's clock and ours differ by more than a signature allows (SigV4: a quarter of an hour)."""


def read_policy(bucket: str, prefixes: Iterable[str]) -> str:
    """The bucket policy by which anybody may read objects below `prefixes`, and nobody may list them."""
    statement = {
        "Sid": _STATEMENT,
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/{prefix}*" for prefix in sorted(prefixes)],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def open_prefixes(bucket: str, policy: str) -> set[str]:
    """What a policy of ours opens to readers; the whole bucket, as it once was, counts as nothing."""
    try:
        statements = json.loads(policy)["Statement"]
        named = [one["Resource"] for one in statements if one.get("Sid") == _STATEMENT]
        # One resource comes back as text, several as a list, whatever was put.
        found = [text for one in named for text in ([one] if isinstance(one, str) else one)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()
    start = f"arn:aws:s3:::{bucket}/"
    return {str(text)[len(start) : -1] for text in found if str(text).startswith(start)} - {""}


def retention_rule(prefix: str) -> dict[str, Json]:
    """Segments go after a day, whatever became of the packager that should have deleted them."""
    return {
        "ID": f"{OWNER_TAG}.{prefix.rstrip('/')}",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": prefix, "Tags": [{"Key": _RETENTION[0], "Value": _RETENTION[1]}]}},
        "Expiration": {"Days": RETENTION_DAYS},
    }


def mapped(
    endpoint: str, code: str, message: str, status: int, *, storing: bool = False, skew_s: float | None = None
) -> NfError:
    """The error of the tree for what S3 said. Never quotes a key. `endpoint`: with the bucket, where there is one.

    `skew_s`: by how much our clock is ahead of the one that the answer showed.
    `storing`: an object was to be written; an origin without space often says no more than 500 to that.
    """
    if code in _ABSENT:
        return AbsentError(message, where=endpoint)
    if code in _SKEWED:
        known = "" if skew_s is None else f": ours is {abs(skew_s):.0f} s {'ahead' if skew_s > 0 else 'behind'}"
        return SkewError(
            f"the clocks of the origin and of this appliance differ{known}",
            where=endpoint,
            remedy="set the wrong one right (`chronyc tracking`); the credentials are as good as they were",
        )
    if code in _NOT_OFFERED:
        return NotOfferedError(message, where=endpoint)
    if code in _DENIED or status in (401, 403):
        remedy = "give the appliance valid credentials (the file of the secret), or let this key write the bucket"
        return DeniedError(f"the origin refuses the credentials: {code}", where=endpoint, remedy=remedy)
    if code in _FULL or status == 507 or (storing and status == 500):
        return StorageError(
            f"the origin stores nothing more: {status} {code}", where=endpoint, remedy="free or add space at the origin"
        )
    return DriverError(
        f"the origin answered {status} {code}: {message}", where=endpoint, remedy="read the origin's log"
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """`expires`: the retention of the bucket may take it away."""

    key: str
    body: bytes
    content_type: str
    cache_control: str
    expires: bool = False


class S3:
    """One endpoint with one access key. Every call runs in a thread, since boto3 blocks.

    Raises DeniedError (wrong or revoked credentials), StorageError (full), UnavailableError (no answer), DriverError.
    """

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._client: Any = None

    def _made(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            config = Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                proxies={},
            )
            # A session of its own: the default one reads the user's files and cannot be shared by threads.
            self._client = boto3.session.Session(
                aws_access_key_id=self._credentials.access_key,
                aws_secret_access_key=self._credentials.secret_key,
                region_name="us-east-1",
            ).client("s3", endpoint_url=self._endpoint, config=config)
        return self._client

    async def _call(self, work: Callable[[Any], T], *, storing: bool = False) -> T:
        return await asyncio.to_thread(self._bounded, work, storing)

    def _bounded(self, work: Callable[[Any], T], storing: bool) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return work(self._made())
        except ClientError as error:
            said: Mapping[str, Any] = error.response.get("Error") or {}
            answer: Mapping[str, Any] = error.response.get("ResponseMetadata") or {}
            raise mapped(
                self._endpoint,
                str(said.get("Code", "")),
                str(said.get("Message", "")),
                int(answer.get("HTTPStatusCode", 0)),
                storing=storing,
                skew_s=_skew_s(answer.get("HTTPHeaders") or {}),
            ) from None
        except BotoCoreError as error:
            raise UnavailableError(
                f"the origin does not answer: {type(error).__name__}",
                where=self._endpoint,
                remedy="see whether the origin runs and a route leads there",
            ) from None
        except _STRANGE as error:  # boto3 takes an answer apart before it looks whether it is one
            raise DriverError(
                f"what answers is no S3 API: {type(error).__name__}",
                where=self._endpoint,
                remedy="see what listens at the endpoint",
            ) from None

    async def close(self) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.close)
            self._client = None

    async def try_write(self, bucket: str, key: str) -> None:
        """Ask whether an object may be written there, with a request that changes nothing: it aborts an upload that
        was never begun (S3 API, AbortMultipartUpload), which takes the right to write. The bucket need not be there.
        """
        with contextlib.suppress(AbsentError):
            await self._call(lambda s3: s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=_NO_UPLOAD))

    # ---- buckets ----

    async def owner(self, bucket: str) -> str | None:
        """Whose bucket it is by its tag: "" = nobody's. None = there is no such bucket."""
        try:
            tags = await self._call(lambda s3: _tags(s3, bucket))
        except AbsentError:
            return "" if await self.exists(bucket) else None
        return tags.get(OWNER_TAG, "")

    async def exists(self, bucket: str) -> bool:
        try:
            await self._call(lambda s3: s3.head_bucket(Bucket=bucket))
        except AbsentError:
            return False
        return True

    async def create(self, bucket: str) -> None:
        await self._call(lambda s3: s3.create_bucket(Bucket=bucket))

    async def tag(self, bucket: str, owner: str) -> None:
        tags = {"TagSet": [{"Key": OWNER_TAG, "Value": owner}]}
        await self._call(lambda s3: s3.put_bucket_tagging(Bucket=bucket, Tagging=tags))

    async def open_for_players(self, bucket: str, prefix: str) -> None:
        """Anybody reads what is below `prefix` (policy), from any web page (CORS); the other prefixes stay as they are.
        Segments expire there, where the endpoint has lifecycles."""
        cors = {"CORSRules": [_CORS]}
        await self._call(lambda s3: _put_policy(s3, bucket, lambda prefixes: prefixes | {prefix}))
        await self._call(lambda s3: s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=cors))
        with contextlib.suppress(NotOfferedError):
            await self._call(lambda s3: _put_rules(s3, bucket, prefix, [retention_rule(prefix)]))

    async def close_for_players(self, bucket: str, prefix: str) -> None:
        """What `open_for_players` said of this prefix is said no more."""
        with contextlib.suppress(AbsentError, NotOfferedError):
            await self._call(lambda s3: _put_policy(s3, bucket, lambda prefixes: prefixes - {prefix}))
            await self._call(lambda s3: _put_rules(s3, bucket, prefix, []))

    async def delete_bucket_if_empty(self, bucket: str) -> bool:
        """Looks first, since not every S3 refuses to delete a bucket with objects in it."""
        try:
            if await self.keys(bucket, limit=1):
                return False
            await self._call(lambda s3: s3.delete_bucket(Bucket=bucket))
        except AbsentError:
            pass
        return True

    # ---- objects ----

    async def keys(self, bucket: str, prefix: str = "", *, limit: int | None = None) -> list[str]:
        """In the order of the names; at most `limit`. Raises AbsentError when there is no such bucket."""
        return await self._call(lambda s3: _keys(s3, bucket, prefix, limit))

    async def get(self, bucket: str, key: str) -> bytes | None:
        """None when there is no such object."""
        try:
            return await self._call(lambda s3: bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
        except AbsentError:
            return None

    async def put(self, bucket: str, upload: Upload) -> None:
        given: Mapping[str, Any] = {
            "Bucket": bucket,
            "Key": upload.key,
            "Body": upload.body,
            "ContentType": upload.content_type,
            "CacheControl": upload.cache_control,
            **({"Tagging": "=".join(_RETENTION)} if upload.expires else {}),
        }
        await self._call(lambda s3: s3.put_object(**given), storing=True)

    async def delete(self, bucket: str, keys: Iterable[str]) -> int:
        """How many keys were named; absent ones are no error."""
        named = list(keys)
        for start in range(0, len(named), _BATCH):
            batch = {"Objects": [{"Key": key} for key in named[start : start + _BATCH]], "Quiet": True}
            failed = await self._call(partial(_delete, bucket=bucket, batch=batch))
            if failed:
                raise mapped(self._endpoint, *failed[0], 200)
        return len(named)


@contextlib.asynccontextmanager
async def open_s3(endpoint: str, reference: str, resolve: Callable[[str], str]) -> AsyncIterator[S3]:
    """With the credentials that `reference` names. Raises what `resolve` does, IntegrityError when they are none."""
    text = await asyncio.to_thread(resolve, reference)
    s3 = S3(endpoint, Credentials.parse(text, reference))
    try:
        yield s3
    finally:
        await s3.close()


def _tags(s3: Any, bucket: str) -> dict[str, str]:
    return {str(tag["Key"]): str(tag["Value"]) for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}


def _skew_s(headers: Mapping[str, Any]) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(str(headers["date"])).timestamp()
    except (KeyError, ValueError, TypeError):
        return None


def _put_policy(s3: Any, bucket: str, change: Callable[[set[str]], set[str]]) -> None:
    """Where a policy has statements of others, they are not ours to lose: the bucket was refused as foreign before."""
    from botocore.exceptions import ClientError

    try:
        before = open_prefixes(bucket, s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _ABSENT:
            raise
        before = set()
    after = change(before)
    if after:
        s3.put_bucket_policy(Bucket=bucket, Policy=read_policy(bucket, after))
    elif before:
        s3.delete_bucket_policy(Bucket=bucket)


def _put_rules(s3: Any, bucket: str, prefix: str, rules: list[dict[str, Json]]) -> None:
    from botocore.exceptions import ClientError

    try:
        before = s3.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", [])
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") not in _ABSENT:
            raise
        before = []
    ours = retention_rule(prefix)["ID"]
    after = [rule for rule in before if rule.get("ID") != ours] + rules
    if after:
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": after})
    elif before:
        s3.delete_bucket_lifecycle(Bucket=bucket)


def _delete(s3: Any, bucket: str, batch: dict[str, Any]) -> list[tuple[str, str]]:
    """Code and message of each object that could not be deleted."""
    errors = s3.delete_objects(Bucket=bucket, Delete=batch).get("Errors", ())
    told = [(str(error.get("Code")), str(error.get("Message"))) for error in errors]
    return [error for error in told if error[0] not in _ABSENT]


def _keys(s3: Any, bucket: str, prefix: str, limit: int | None) -> list[str]:
    found: list[str] = []
    more: dict[str, str] = {}
    while limit is None or len(found) < limit:
        size = _BATCH if limit is None else min(_BATCH, limit - len(found))
        page = s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=size, **more)
        found += [entry["Key"] for entry in page.get("Contents", ())]
        if not page.get("IsTruncated"):
            break
        more = {"ContinuationToken": page["NextContinuationToken"]}
    return found


def refuse_foreign(bucket: str, endpoint: str) -> RefusedError:
    """A bucket that exists and was not made by an appliance is nobody's to change."""
    return RefusedError(
        f"the bucket {bucket} exists and is not StreamVerse's",
        where=endpoint,
        remedy=f"choose another name, or tag it {OWNER_TAG} when it may be used, and emptied later",
    )
