"""The MODEL of FreeSWITCH itself; see `lab.voice`. Names of commands, parameters, headers and causes are FreeSWITCH's."""
