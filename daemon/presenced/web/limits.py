"""What the limits of the listener apply to."""

from ipaddress import IPv6Address, ip_address


def limit_key(address: str) -> str:
    """Return what an address is limited by: the IPv4 address, or the /64 network of an IPv6 one."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    return str(ip.ipv4_mapped or int(ip) >> 64)
