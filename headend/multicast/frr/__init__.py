"""FRR 8.4 of one router: zebra, staticd, ospfd, pimd and bfdd, configured and read over their unix vty sockets."""
