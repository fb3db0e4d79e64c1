"""An officer's side of the API. A profile is a directory: `profile.json` and the PEM files that it names.

{"administration": "admf1", "url": "https://10.0.0.5:9443", "certificate": "anna.pem", "key": "anna.key",
 "authority": "ca.pem"}
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cryptography import x509

from lawful_intercept import tls
from lawful_intercept.https_client import HttpsClient, HttpsUnavailable
from nf import errors
from nf.contracts.json import Json, JsonObject
from nf.errors import IdentityError, InputError, NfError, Problem, UnavailableError
from nf.trust.certificates import spiffe_id_of
from nf.trust.spiffe import SpiffeId

FILE: Final = "profile.json"
VARIABLE: Final = "NF_LI_PROFILE"
TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Fits `tls.Files`. `administration`: the ADMF's name, in its certificate."""

    administration: str
    url: str
    certificate: Path
    key: Path
    authority: Path


def directory_of(named: Path | None) -> Path:
    """`--profile`, else `$NF_LI_PROFILE`, else `~/.config/nf-li`."""
    if named is not None:
        return named
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nf-li"


def load(named: Path | None) -> Profile:
    """Raises IdentityError when there is none, InputError when it is damaged."""
    directory = directory_of(named)
    file = directory / FILE
    try:
        data = json.loads(file.read_bytes())
        texts = {name: str(data[name]) for name in ("administration", "url", "certificate", "key", "authority")}
    except FileNotFoundError:
        raise IdentityError(
            "no officer's profile here",
            where=str(directory),
            remedy=f"`nf-li profile` writes one; name it by --profile or {VARIABLE}",
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("the profile cannot be read", where=str(file), remedy="`nf-li profile` writes one") from None
    paths = {name: directory / texts[name] for name in ("certificate", "key", "authority")}
    return Profile(texts["administration"], texts["url"], **paths)


class Client:
    """`async with Client(profile) as admf: await admf.call("status")`."""

    def __init__(self, profile: Profile, timeout_s: float = TIMEOUT_S) -> None:
        """Raises InputError, IdentityError, NotFoundError, IntegrityError, StorageError."""
        own = tls.own_identity(profile)
        self._expected = SpiffeId(own.domain, "element", profile.administration)
        self._http = HttpsClient(profile.url, tls.client_context(profile), check=self._check, timeout_s=timeout_s)

    def _check(self, certificate: x509.Certificate) -> None:
        if spiffe_id_of(certificate) != self._expected:
            raise IdentityError(
                "another one answers than the profile names", where="ADMF", remedy="see `administration` in the profile"
            )

    async def call(self, method: str, arguments: JsonObject | None = None) -> Any:
        """The answer. Raises what the ADMF answered, UnavailableError, IdentityError."""
        body = json.dumps(arguments or {}, ensure_ascii=False).encode()
        try:
            answer = await self._http.request("POST", body, path=f"/v1/{method}")
        except HttpsUnavailable as error:
            raise UnavailableError(
                "it cannot be reached", where="ADMF", remedy="see that it runs, and `url` in the profile"
            ) from error
        try:
            data: Json = json.loads(answer.body)
        except ValueError:
            data = None
        if answer.status == 200:
            return data
        if isinstance(data, dict) and isinstance(told := data.get("error"), dict):
            raise error_of(told)
        if answer.status == 413:
            raise InputError("it is larger than the ADMF takes", where="ADMF", remedy="split it")
        raise UnavailableError("the ADMF failed", where="ADMF", remedy="see its alarms and its process")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()


def error_of(data: JsonObject) -> NfError:
    """The error that an answer tells of."""
    kind = getattr(errors, str(data.get("kind")), None)
    made = (
        kind if isinstance(kind, type) and issubclass(kind, NfError) and kind is not errors.DocumentError else NfError
    )
    found = data.get("problems")
    problems = [_problem(one) for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    message, where, remedy = (str(data.get(name, "")) for name in ("message", "where", "remedy"))
    return made(message, where=where, remedy=remedy, problems=problems)


def _problem(data: JsonObject) -> Problem:
    return Problem(
        rule=str(data.get("rule", "")),
        remedy=str(data.get("remedy", "")),
        file=str(data.get("file", "")),
        key=str(data.get("key", "")),
    )
