"""A load balancer for TCP that forgets idle connections, as network load balancers, NAT gateways and firewalls do.

It works on packets: it never ends a connection, and sends nothing of its own. A connection on which no packet was seen
for IDLE seconds is forgotten, and later packets of it are dropped in silence.

Usage: balancer.py DEVICE FRONT BACK TARGET PORT IDLE

Clients connect to FRONT. The connections arrive at TARGET:PORT, and come from BACK. Both addresses lead to a TUN device,
so it needs a network namespace of its own, as root there. Prints "ready", and "forgotten" for each forgotten connection.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
SYN, ACK = 0x02, 0x10


def open_device(name):
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def rewritten(packet, source, target):
    """The packet with other addresses and ports."""
    header = (packet[0] & 15) * 4
    ip, tcp = bytearray(packet[:header]), bytearray(packet[header:])
    ip[12:16], ip[16:20], ip[10:12] = source[0], target[0], b"\0\0"
    ip[10:12] = struct.pack("!H", checksum(bytes(ip)))
    tcp[0:4], tcp[16:18] = struct.pack("!HH", source[1], target[1]), b"\0\0"
    pseudo = source[0] + target[0] + struct.pack("!BBH", 0, 6, len(tcp))
    tcp[16:18] = struct.pack("!H", checksum(pseudo + bytes(tcp)))
    return bytes(ip + tcp)


class Balancer:
    def __init__(self, front, back, target, idle):
        self.front, self.back, self.target, self.idle = front, back, target, idle
        self.flows, self.ports, self.next = {}, {}, 20_000

    def forward(self, packet, now):
        """The packet to send on, or None."""
        if packet[0] >> 4 != 4 or packet[9] != 6:
            return None
        header = (packet[0] & 15) * 4
        source, target = packet[12:16], packet[16:20]
        source_port, target_port = struct.unpack("!HH", packet[header : header + 4])
        flags = packet[header + 13]
        if target == self.front:
            client = (source, source_port, target_port)
            if flags & (SYN | ACK) == SYN and client not in self.ports:
                self.next += 1
                self.ports[client] = self.next
                self.flows[self.next] = [client, now]
            port = self.ports.get(client)
            if not self.keeps(port, now):
                return None
            return rewritten(packet, (self.back, port), self.target)
        if target == self.back and self.keeps(target_port, now):
            client = self.flows[target_port][0]
            return rewritten(packet, (self.front, client[2]), client[:2])
        return None

    def keeps(self, port, now):
        flow = self.flows.get(port)
        if flow is None:
            return False
        if now - flow[1] > self.idle:
            del self.flows[port], self.ports[flow[0]]
            print("forgotten", flush=True)
            return False
        flow[1] = now
        return True


def main():
    name, front, back, target, port, idle = sys.argv[1:]
    device = open_device(name)
    for words in [f"link set {name} up", f"route add {front}/32 dev {name}", f"route add {back}/32 dev {name}"]:
        subprocess.run(["ip", *words.split()], check=True)
    address = socket.inet_aton
    balancer = Balancer(address(front), address(back), (address(target), int(port)), float(idle))
    print("ready", flush=True)
    while True:
        packet = balancer.forward(os.read(device, 65_536), time.monotonic())
        if packet:
            os.write(device, packet)


main()
