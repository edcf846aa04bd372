"""The built file on this machine's kernel: in a root of its own, by itself or under user-mode QEMU as another CPU.

`program` reads from a file what it was built for, `emulator` finds the QEMU that runs it, `root` makes the folder that
it takes for the whole file system, and `process` runs it there so that nothing of it is left when the caller is gone.
"""
