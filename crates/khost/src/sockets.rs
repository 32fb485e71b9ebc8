//! Who listens at which TCP port, as the kernel tells it (proc(5)).

use std::collections::BTreeMap;

use crate::{Host, Result, fs};

/// A process with the sockets it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, of which the kernel keeps 15 bytes (`/proc/PID/comm`).
    pub name: String,
    /// Inodes of its sockets.
    pub sockets: Vec<u64>,
}

/// TCP ports that are listened at, with the inodes of their sockets.
pub fn listening(host: &Host) -> Result<BTreeMap<u16, u64>> {
    let mut listening = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        listening.extend(listeners(&fs::read_text(&host.path(table))?.unwrap_or_default()));
    }
    Ok(listening)
}

/// The process that listens at `port`, as far as this user may see; none when it is free.
pub fn holder(host: &Host, port: u16) -> Result<Option<Process>> {
    let Some(inode) = listening(host)?.remove(&port) else { return Ok(None) };
    Ok(processes(host)?.into_iter().find(|process| process.sockets.contains(&inode)))
}

/// Every process, with the sockets that this user may see.
pub fn processes(host: &Host) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    let proc = host.path("/proc");
    for entry in fs::names(&proc)? {
        let Ok(pid) = entry.parse() else { continue };
        // It may end while it is looked at.
        let Ok(Some(name)) = fs::read_text(&proc.join(&entry).join("comm")) else { continue };
        let dir = proc.join(&entry).join("fd");
        let files = fs::names(&dir).unwrap_or_default();
        let links = files.iter().filter_map(|file| std::fs::read_link(dir.join(file)).ok());
        let sockets = links.filter_map(|link| socket(&link.to_string_lossy())).collect();
        found.push(Process { pid, name: name.trim_end().to_owned(), sockets });
    }
    Ok(found)
}

/// Ports that are listened at, with the inode of the socket, from `/proc/net/tcp`.
fn listeners(table: &str) -> BTreeMap<u16, u64> {
    let listener = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (*state == "0A").then_some((port, inode.parse().ok()?)) // TCP_LISTEN
    };
    table.lines().filter_map(listener).collect()
}

/// The inode in `socket:[INODE]`.
fn socket(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::{holder, listeners, socket};
    use crate::Host;

    #[test]
    fn only_listeners_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
";
        assert_eq!(listeners(table), [(6379, 4711)].into());
        let table = "   0: 00000000000000000000000000000000:192B \
                     00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 99 1\n";
        assert_eq!(listeners(table), [(6443, 99)].into());
        assert_eq!(socket("socket:[99]"), Some(99));
        assert_eq!(socket("/dev/null"), None);
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = holder(&Host::new("/"), port).unwrap().unwrap();
        assert_eq!(found.pid, std::process::id());
        drop(listener);
        assert_eq!(holder(&Host::new("/"), port).unwrap(), None);
    }

    proptest! {
        #[test]
        fn a_listener_is_found_among_any_lines(
            noise in "([0-9A:é]{0,4} ){0,12}\\PC*", port in any::<u16>(), inode in any::<u64>(),
        ) {
            let line = format!("0: 0100007F:{port:04X} 00000000:0000 0A 0:0 00:0 0 0 0 {inode} 1");
            let found = listeners(&format!("{noise}\n{line}\n"));
            prop_assert_eq!(found.get(&port), Some(&inode));
            prop_assert_eq!(socket(&format!("socket:[{inode}]")), Some(inode));
            socket(&noise);
        }
    }
}
