"""What a client needs of the machine's own settings before it can reach another machine.

certificates  whom TLS believes, wherever this system keeps that
names         addresses of a name, also where no name server and no hosts file is
multicast     names that the machines of a LAN answer for themselves (``box.local``)
"""
