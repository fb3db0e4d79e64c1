"""The MODEL of FreeSWITCH itself; see `lab.voice`. Names of commands, headers and causes are FreeSWITCH's."""
