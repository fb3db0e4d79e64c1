"""What a support bundle leaves out of what it looks at."""

from __future__ import annotations

from images.appliance import support

LISTING = """\
Netid State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess
udp   UNCONN 832    0          10.3.1.1:26000      0.0.0.0:*    users:(("python3",pid=9,fd=7))
udp   UNCONN 0      0          10.3.1.1:30010      0.0.0.0:*    users:(("rtpengine",pid=5,fd=9))
udp   UNCONN 4      0      10.3.1.1%eth3:5060      0.0.0.0:*    users:(("kamailio",pid=6,fd=4))
tcp   LISTEN 0      128            [::1]:30000         [::]:*
"""


def test_sockets_are_told_without_those_of_media_and_without_what_waits_in_them() -> None:
    assert support._services(LISTING).splitlines() == [
        "Netid  State  Local  Address:Port  Peer Address:PortProcess",
        'udp  UNCONN  10.3.1.1%eth3:5060  0.0.0.0:*  users:(("kamailio",pid=6,fd=4))',
        "tcp  LISTEN  [::1]:30000  [::]:*",
    ]
    assert support._services("") == ""
