"""What an image is made of, who vouches for it, and whether it still is what was built.

`sbom`, `licences`, `provenance` write; `verify` reads. Everything that is read may come from a stranger: the parsers
(`der`, `cms`, `pe`, `gpt`, `fat`, `dmverity`, `raucb`, `dsse`, `shipped`) raise `IntegrityError` for what they cannot
accept, take no more than they must, and run no program.

A judge does not import what it judges: FAT, partition tables, signatures and the manifest are read here by other code
than the builder's and the appliance's, on purpose, although both know them too.
"""
