"""PDUs of all legal kinds."""

from __future__ import annotations

from hypothesis import strategies as st

from lawful_intercept.x2x3.codec import LEGAL, Attributes, PayloadDirection, Pdu, PduType

SIZES = {8: 4, 9: 8, 10: 4, 11: 4, 12: 16, 13: 16, 14: 2, 15: 2, 16: 1}


def attribute(number: int) -> st.SearchStrategy[tuple[int, bytes]]:
    size = SIZES.get(number)
    value = st.binary(max_size=40) if size is None else st.binary(min_size=size, max_size=size)
    return st.tuples(st.just(number), value)


def attributes() -> st.SearchStrategy[Attributes]:
    numbers = st.one_of(st.integers(1, 22), st.integers(23, 0xFFFF))
    free = st.lists(numbers.flatmap(attribute), max_size=8)
    first = st.one_of(st.just(()), st.tuples(attribute(8), attribute(9)))
    return st.tuples(first, free).map(lambda both: (*both[0], *both[1]))


def pdus() -> st.SearchStrategy[Pdu]:
    def of(kind: PduType) -> st.SearchStrategy[Pdu]:
        carries = kind <= PduType.X3
        return st.tuples(
            st.just(kind),
            st.binary(min_size=16, max_size=16),
            st.integers(0, 2**64 - 1),
            st.sampled_from(sorted(LEGAL[kind])),
            st.sampled_from(list(PayloadDirection)[1:]) if carries else st.just(PayloadDirection.KEEPALIVE),
            attributes(),
            st.binary(max_size=300) if carries else st.just(b""),
        ).map(lambda parts: Pdu(*parts))

    return st.sampled_from(PduType).flatmap(of)
