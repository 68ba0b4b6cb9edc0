//! Loopback addresses and ports of a lab, chosen so that several labs and test processes do not meet. Envoy listens with
//! SO_REUSEPORT: two on one address would not fail but share its connections, so an address in use has to be found beforehand.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use super::LabError;

/// How many labs or tests one process can have at a time before names of the first come round again.
static STARTED: AtomicU16 = AtomicU16::new(0);

/// 256 loopback addresses, `127.x.y.0/24`, of which each workload has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    second: u8,
    third: u8,
}

impl Network {
    /// The hosts whose [`TAKEN_PORTS`] have to be free.
    const HOSTS: std::ops::RangeInclusive<u8> = 1..=3;

    /// A range where nobody listens on a lab's ports, near the one that `port_base` stands for.
    pub fn for_port_base(port_base: u16) -> Result<Self, LabError> {
        // A lab uses some twenty ports, so bases that are apart enough for the ports are apart here too.
        Self::search(0, (port_base / 20 % 250) as u8)
    }

    /// A range for one test of this process.
    pub fn unique() -> Result<Self, LabError> {
        let second = 1 + (std::process::id() % 250) as u8;
        Self::search(second, (STARTED.fetch_add(1, Ordering::Relaxed) % 250) as u8)
    }

    fn search(second: u8, start: u8) -> Result<Self, LabError> {
        let tried = (0..250_u16).map(|offset| Self { second, third: 1 + ((u16::from(start) + offset) % 250) as u8 });
        tried
            .into_iter()
            .find(|network| Self::HOSTS.clone().all(|host| network.is_free(host)))
            .ok_or_else(|| LabError::NoNetwork { first: format!("127.{second}.{}.0/24", start + 1) })
    }

    /// The address of a host, 1 to 254.
    pub fn host(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, self.third, host)
    }

    fn is_free(self, host: u8) -> bool {
        super::topology::TAKEN_PORTS.iter().all(|port| can_listen(SocketAddr::from((self.host(host), *port))))
    }
}

/// Hands out ports of 127.0.0.1 that nobody listens on, and keeps them from every other lab and test of the machine until it is
/// dropped, whether somebody listens already, not yet, or not just now.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    next: u16,
    last: u16,
    /// What keeps a port: nobody here uses UDP, so the datagram port of the same number is free to say that it is taken.
    kept: Vec<UdpSocket>,
}

impl Ports {
    /// How many ports are tried.
    const SPAN: u16 = 400;

    /// From `base` upwards.
    pub fn from_base(base: u16) -> Self {
        Self { first: base, next: base, last: base.saturating_add(Self::SPAN), kept: Vec::new() }
    }

    /// For one lab or test of this process. Below the range from which the system gives ports to outgoing connections.
    pub fn unique() -> Self {
        let process = (std::process::id() % 100) as u16;
        let within = STARTED.fetch_add(1, Ordering::Relaxed) % 5;
        Self::from_base(17_000 + process * 150 + within * 30)
    }

    /// The next free port.
    pub fn free(&mut self) -> Result<u16, LabError> {
        while self.next < self.last {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next));
            self.next += 1;
            let Ok(kept) = UdpSocket::bind(address) else { continue };
            if can_listen(address) {
                self.kept.push(kept);
                return Ok(address.port());
            }
        }
        Err(LabError::NoPort { first: self.first, last: self.last })
    }

    /// The next free port, with the address.
    pub fn free_address(&mut self) -> Result<SocketAddr, LabError> {
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, self.free()?)))
    }
}

fn can_listen(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::Ports;

    #[test]
    fn no_port_is_handed_out_twice_before_its_keeper_is_gone() {
        let base = Ports::unique().free().unwrap();
        let (mut one, mut other) = (Ports::from_base(base), Ports::from_base(base));
        let first = one.free().unwrap();
        assert!((0..50).all(|_| other.free().unwrap() != first));
        drop(one);
        assert_eq!(Ports::from_base(first).free().unwrap(), first);
    }
}
