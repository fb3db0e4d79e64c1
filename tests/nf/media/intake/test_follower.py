"""Where a run begins and ends, on playlists made for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nf.media.hls import MediaPlaylist, Segment
from nf.media.intake.follower import continuing, start_number


def playlist(first: int, count: int, *, breaks: tuple[int, ...] = (), init: str = "init.mp4") -> MediaPlaylist:
    segments = tuple(Segment(n, f"{n}.m4s", 2.0, init, discontinuity=n in breaks) for n in range(first, first + count))
    return MediaPlaylist(2, segments, first)


def test_a_run_begins_with_one_segment_in_hand_that_all_renditions_have() -> None:
    assert start_number([playlist(10, 10), playlist(10, 10)]) == 18
    assert start_number([playlist(10, 10), playlist(10, 9)]) == 17
    assert start_number([playlist(10, 1), playlist(10, 1)]) == 10
    assert start_number([playlist(10, 10, breaks=(19,)), playlist(10, 10)]) == 19
    assert start_number([playlist(10, 5), playlist(20, 5)]) is None
    assert start_number([playlist(10, 0)]) is None


def test_a_run_goes_on_as_long_as_one_decoder_can_take_it() -> None:
    segments, cut = continuing(playlist(10, 10), 18, None)
    assert ([s.number for s in segments], cut) == ([18, 19], False)
    assert continuing(playlist(10, 10), 20, "init.mp4") == ((), False)
    segments, cut = continuing(playlist(10, 10, breaks=(19,)), 18, "init.mp4")
    assert ([s.number for s in segments], cut) == ([18], True)
    assert continuing(playlist(10, 10, init="other.mp4"), 18, "init.mp4") == ((), True)
    assert continuing(playlist(30, 5), 20, "init.mp4") == ((), True)  # they have left the window unseen
    assert continuing(playlist(1, 5), 20, "init.mp4") == ((), True)  # numbering began anew
    segments, cut = continuing(playlist(10, 3, breaks=(10,)), 10, None)
    assert ([s.number for s in segments], cut) == ([10, 11, 12], False)


@given(
    st.integers(0, 50),
    st.integers(0, 12),
    st.integers(0, 70),
    st.sets(st.integers(0, 60), max_size=4),
    st.sampled_from([None, "init.mp4", "other.mp4"]),
)
def test_what_is_taken_is_always_without_a_gap(
    first: int, count: int, number: int, breaks: set[int], init: str | None
) -> None:
    segments, cut = continuing(playlist(first, count, breaks=tuple(breaks)), number, init)
    numbers = [segment.number for segment in segments]
    assert numbers == list(range(number, number + len(numbers)))
    assert not any(segment.discontinuity for segment in segments[0 if init else 1 :])
    assert cut or not numbers or numbers[-1] == first + count - 1
