//! Where a rank runs: whether ranks share a machine, and under which addresses it can be reached.

use std::net::IpAddr;

/// What a rank tells rank 0 about its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Equal for ranks that reach each other over the loopback interface.
    pub machine: String,
    /// Addresses of this machine, without loopback.
    pub addresses: Vec<IpAddr>,
}

impl Place {
    pub fn own() -> Self {
        let name = gethostname::gethostname().to_string_lossy().into_owned();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // Containers on one machine may each have a loopback interface of their own.
        let network = std::fs::read_link("/proc/self/ns/net").map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        Self { machine: format!("{name} {} {network}", boot.trim()), addresses: own_addresses() }
    }

    /// As lines of text.
    pub fn to_text(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        format!("{}\n{}", self.machine, addresses.join(" "))
    }

    pub fn from_text(text: &str) -> Option<Self> {
        let (machine, addresses) = text.split_once('\n')?;
        let addresses = addresses.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(Self { machine: machine.to_owned(), addresses })
    }

    /// The addresses at which `others` can reach this place: not those that another machine has, too, such as those of container bridges.
    pub fn reachable_from(&self, others: &[Self]) -> Vec<IpAddr> {
        let is_shared = |address: &&IpAddr| others.iter().any(|other| other.machine != self.machine && other.addresses.contains(address));
        self.addresses.iter().filter(|address| !is_shared(address)).copied().collect()
    }
}

/// The addresses of the interfaces that are up, those of IPv4 first.
#[cfg(unix)]
fn own_addresses() -> Vec<IpAddr> {
    let mut first = std::ptr::null_mut();
    // SAFETY: `first` receives a list that is freed below.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Vec::new();
    }
    let (mut found, mut next) = (Vec::new(), first);
    while !next.is_null() {
        // SAFETY: an entry of the list, which has not been freed yet.
        let entry = unsafe { &*next };
        if entry.ifa_flags & libc::IFF_UP as libc::c_uint != 0 && !entry.ifa_addr.is_null() {
            // SAFETY: the system's address of an interface.
            found.extend(unsafe { address(entry.ifa_addr) });
        }
        next = entry.ifa_next;
    }
    // SAFETY: what `getifaddrs` returned, once.
    unsafe { libc::freeifaddrs(first) };
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// The address in `socket`, unless it leads nowhere from another machine.
///
/// # Safety
/// `socket` points to a whole socket address of the family it names.
#[cfg(unix)]
unsafe fn address(socket: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: as the caller promises.
    let address = unsafe {
        match i32::from((*socket).sa_family) {
            libc::AF_INET => IpAddr::from(u32::from_be((*socket.cast::<libc::sockaddr_in>()).sin_addr.s_addr).to_be_bytes()),
            libc::AF_INET6 => IpAddr::from((*socket.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr),
            _ => return None,
        }
    };
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    (!address.is_loopback() && !is_link_local).then_some(address)
}

#[cfg(not(unix))]
fn own_addresses() -> Vec<IpAddr> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text() {
        let place = Place { machine: "n1 boot net:[1]".into(), addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()] };
        assert_eq!(Place::from_text(&place.to_text()), Some(place));
        assert_eq!(Place::from_text("no second line"), None);
        assert_eq!(Place::from_text("n1\n10.0.0.300"), None);
    }

    #[test]
    fn addresses_that_other_machines_have_too_lead_nowhere() {
        let place = |machine: &str, addresses: &[&str]| Place {
            machine: machine.into(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let first = place("n1", &["172.17.0.1", "10.0.0.1"]);
        let others = [first.clone(), place("n1", &["172.17.0.1", "10.0.0.1"]), place("n2", &["172.17.0.1", "10.0.0.2"])];
        assert_eq!(first.reachable_from(&others), vec!["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn this_process_is_where_it_is() {
        assert_eq!(Place::own(), Place::own());
        assert!(Place::own().addresses.iter().all(|address| !address.is_loopback()));
    }
}
