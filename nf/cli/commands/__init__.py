"""The commands of `nf`, one module for each group. They import what they run late, so that `nf --help` is quick."""
