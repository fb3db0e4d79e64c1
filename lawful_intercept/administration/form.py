"""A warrant as a clerk writes it: a YAML form. Errors name the document, line, key, value, rule and remedy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, create_model, model_validator

from lawful_intercept.administration.warrants import Content, Scope, Service
from lawful_intercept.identifiers import RULES, TargetIdentifier, address_of, check_liid
from nf.documents.loader import load_model
from nf.documents.model import DocumentModel, RuleError
from nf.errors import DocumentError, InputError, Problem

FORM: Final = """\
# A warrant. It is immutable once it is submitted; see `nf-li warrant submit FILE`.
liid: ""                 # agreed with the agency: 1 to 25 characters, or 26 to 50 hexadecimal digits
reference: ""            # the authority's own, such as HC 2026/4711
agency: ""               # `nf-li agency list`
targets:                 # whoever is one of them is intercepted
  - sipUri: ""           # or one of: {forms}
services: [voice]        # voice, data
scope: iri-and-cc        # iri, or iri-and-cc
start: 2026-12-01T00:00:00Z   # with an offset; Z is UTC
stop: 2026-12-31T00:00:00Z    # nothing from this second on
"""


def blank() -> str:
    """The form, to be filled in."""
    return FORM.format(forms=", ".join(form for form in RULES if form != "sipUri"))


def _rule(check: Any, rule: str, remedy: str) -> Any:
    """A validator of text. What `check` raises or denies breaks the rule."""

    def judged(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            good = check(value)
        except InputError:
            good = False
        if good is False:
            raise RuleError(rule, remedy)
        return value

    return BeforeValidator(judged)


def _target_field(form: str) -> Any:
    _, rule = RULES[form]
    return Annotated[
        str | None, _rule(lambda value: _target(form, value) is not None, f"{form} is {rule}", f"write {rule}")
    ]


def _target(form: str, value: str) -> TargetIdentifier:
    """An IPv6 address in any spelling. Raises InputError."""
    made = address_of(value) if form == "ipv6Address" else TargetIdentifier(form, value)
    return made if made.form == form else TargetIdentifier(form, value)


class _Target(DocumentModel):
    @model_validator(mode="after")
    def _one(self) -> _Target:
        if len(self.model_fields_set) != 1:
            raise RuleError("a target is one identifier", "begin each on a line of its own, after a hyphen")
        return self


if TYPE_CHECKING:
    Target = _Target
else:
    Target = create_model("Target", __base__=_Target, **{form: (_target_field(form), None) for form in RULES})


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise RuleError("must be a time with its offset", "write 2026-12-01T00:00:00Z, or +01:00 in place of Z")
    return at.astimezone(UTC)


_Time = Annotated[datetime, BeforeValidator(_moment)]
_Text = Annotated[str, Field(min_length=1)]


class WarrantForm(DocumentModel):
    liid: Annotated[
        str,
        _rule(check_liid, "is no LIID", "write 1 to 25 printable characters without spaces, or 26 to 50 hex digits"),
    ]
    reference: _Text
    agency: _Text
    targets: Annotated[tuple[Target, ...], Field(min_length=1, max_length=32)]
    services: Annotated[tuple[Literal["voice", "data"], ...], Field(min_length=1)]
    scope: Literal["iri", "iri-and-cc"]
    start: _Time
    stop: _Time

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> WarrantForm:
        if self.stop <= self.start:
            raise RuleError("stop is not after start", "write a later stop")
        return self

    def content(self) -> Content:
        """Raises InputError for what only the whole shows."""
        return Content(
            liid=self.liid,
            reference=self.reference,
            agency=self.agency,
            targets=tuple(_target(*_only(target)) for target in self.targets),
            services=frozenset(Service(service) for service in self.services),
            scope=Scope(self.scope),
            start=self.start,
            stop=self.stop,
        )


def _only(target: _Target) -> tuple[str, str]:
    (form,) = target.model_fields_set
    return form, str(getattr(target, form))


def read(text: bytes, *, file: str) -> Content:
    """Raises DocumentError with every problem. Its values are the clerk's own: for the clerk's terminal alone."""
    form = load_model(WarrantForm, text, file=file)
    try:
        return form.content()
    except InputError as error:
        raise DocumentError([Problem(error.message, error.remedy, file=file)], where=file) from None
