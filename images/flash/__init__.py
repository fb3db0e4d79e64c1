"""Writing an image onto a disk: the engine, the disks of a machine, the installer medium."""
