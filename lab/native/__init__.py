"""Native runner: a topology as network, mount, UTS and PID namespaces, with neither containers nor daemons."""
