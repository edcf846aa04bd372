"""Another machine, emulated by QEMU, with the built file in it.

`verdict` is what every run leaves: a log, and its last line. `debian` brings a kernel and packages of another
architecture, `kernel` and `cpio` make of them what a board boots from, `image` the disk of one with systemd.
`emulator` runs QEMU and never outlives its script; over `console` the script and the guest exchange lines. `caller`
and `upstream` are the two machines beside the board. `bare` and `installed` are the boards.
"""
