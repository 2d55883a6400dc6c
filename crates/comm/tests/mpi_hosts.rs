//! Two hosts on one machine: network namespaces with a cable between them, and a stand-in for ssh. Needs root.

mod mpi_launch;
mod support;

use megatron_comm::{Error, Failure, Group, Label, ReduceOp, Request, Settings};
use mpi_launch::{Flavour, Play, Seat};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use storage::{DType, Span};
use support::contract::{HASHES, keep};

/// Ranks on each host.
const RANKS: u32 = 2;
const SEED: u32 = 7;
const FLAVOURS: [Flavour; 2] = [Flavour::Standard, Flavour::OpenMpi];
/// The network interface of both hosts.
const CABLE: &str = "cable";
/// Runs a command on the other host: options, the host, the command.
const SSH: &str = r#"#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
name=PREFIX-host${host##*.}
exec ip netns exec $name unshare --uts sh -c "hostname $name; $*"
"#;

/// How many pairs of hosts this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// The two hosts, as long as this lives.
struct Hosts {
    prefix: String,
    addresses: [String; 2],
    ssh: PathBuf,
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let done = output.as_ref().is_ok_and(|output| output.status.success());
    let reason = output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(done, "this machine makes no network namespaces (ip {arguments}: {}): run as root, with iproute2", reason.trim());
}

impl Hosts {
    fn new() -> Self {
        let (pid, count) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let (prefix, net) = (format!("mt{pid}x{count}"), format!("10.{}.{}", pid % 256, count % 256));
        let addresses = [1, 2].map(|host| format!("{net}.{host}"));
        let ssh = std::env::temp_dir().join(format!("{prefix}-ssh"));
        let hosts = Self { prefix, addresses, ssh };
        for host in 0..2 {
            ip(&format!("netns add {}", hosts.space(host)));
        }
        ip(&format!("link add {CABLE} netns {} type veth peer name {CABLE} netns {}", hosts.space(0), hosts.space(1)));
        for host in 0..2 {
            let space = hosts.space(host);
            ip(&format!("-n {space} addr add {}/24 dev {CABLE}", hosts.addresses[host]));
            ip(&format!("-n {space} link set {CABLE} up"));
            ip(&format!("-n {space} link set lo up"));
        }
        (0..2).for_each(|host| hosts.await_carrier(host));
        std::fs::write(&hosts.ssh, SSH.replace("PREFIX", &hosts.prefix)).unwrap();
        assert!(Command::new("chmod").arg("755").arg(&hosts.ssh).status().unwrap().success());
        hosts
    }

    /// The system notices a while after both ends are up that they are connected.
    fn await_carrier(&self, host: usize) {
        let show = || Command::new("ip").args(["-n", &self.space(host), "link", "show", CABLE]).output().unwrap();
        while !String::from_utf8_lossy(&show().stdout).contains("state UP") {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The name of a host, and of its namespace. No dots: launchers cut names there.
    fn space(&self, host: usize) -> String {
        format!("{}-host{}", self.prefix, host + 1)
    }

    /// Pulls the cable, from the host of this name.
    fn cut(name: &str) {
        ip(&format!("-n {name} link set {CABLE} down"));
    }

    /// Bytes that have left the first host.
    fn sent(&self) -> u64 {
        let path = format!("/sys/class/net/{CABLE}/statistics/tx_bytes");
        let output = Command::new("ip").args(["netns", "exec", &self.space(0), "cat", &path]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    }

    /// The launcher, on the first host.
    fn launcher(&self, flavour: Flavour) -> Command {
        let [first, second] = &self.addresses;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(0), "unshare", "--uts", "sh", "-c", r#"hostname "$0"; exec "$@""#, &self.space(0)]);
        let launcher = flavour.launcher(2 * RANKS);
        command.arg(launcher.get_program());
        let list = format!("{first}:{RANKS},{second}:{RANKS}");
        match flavour {
            Flavour::OpenMpi => {
                command.args(["--prtemca", "plm_ssh_agent"]).arg(&self.ssh).args(["--host", &list]);
                command.args(["-x", mpi_launch::ROLE, "-x", "MEGATRON_MPI_LIBRARY", "-x", "LOCAL_WORLD_SIZE"]);
            }
            _ => drop(command.args(["-launcher", "ssh", "-launcher-exec"]).arg(&self.ssh).args(["-hosts", &list])),
        }
        // All of them share the cores of this machine.
        command.args(launcher.get_args()).env("LOCAL_WORLD_SIZE", (2 * RANKS).to_string());
        // Hosts that share their memory would not use the cable, and MPICH might take the loopback interface of one for that of the other.
        for (name, value) in
            [("UCX_TLS", "self,tcp"), ("UCX_NET_DEVICES", CABLE), ("FI_TCP_IFACE", CABLE), ("OMPI_MCA_btl_tcp_if_include", CABLE)]
        {
            command.env(name, value);
        }
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in 0..2 {
            let _ = Command::new("ip").args(["netns", "del", &self.space(host)]).status();
        }
        let _ = std::fs::remove_file(&self.ssh);
    }
}

fn sum(group: &Group, count: usize) -> Result<(), Failure> {
    let data = Span::from_slice(DType::F32, &vec![1f32; count]).unwrap();
    match group.submit(Request::AllReduce { data, op: ReduceOp::Sum }, Label::new("layers.1")) {
        Ok(work) => work.wait(None),
        Err(Error::Failed(failure)) => Err(failure),
        Err(error) => panic!("{error}"),
    }
}

/// In ranks there is nothing to set up, nor to look at afterwards.
fn hosts() -> Option<Hosts> {
    std::env::var_os(mpi_launch::ROLE).is_none().then(Hosts::new)
}

/// Runs `body` on both hosts.
fn play(hosts: Option<&Hosts>, flavour: Flavour, name: &str, lost: &[u32], body: impl Fn(&Seat)) -> Option<mpi_launch::Ended> {
    let run = format!("{flavour:?}");
    let launcher = hosts.map_or_else(|| Command::new("true"), |hosts| hosts.launcher(flavour));
    Play { name, size: 2 * RANKS, run: &run, lost }.run(&flavour.library(), launcher, body)
}

#[test]
fn two_hosts_come_to_the_results_of_one() {
    let name = "two_hosts_come_to_the_results_of_one";
    let hosts = hosts();
    let expected = HASHES.iter().find(|(size, _)| *size == 2 * RANKS).map(|(_, hash)| format!("{hash:x}")).unwrap();
    for flavour in FLAVOURS {
        let before = hosts.as_ref().map_or(0, Hosts::sent);
        let ended = play(hosts.as_ref(), flavour, name, &[], |seat| {
            let world = seat.join_with(seat.settings());
            seat.say(&format!("{:x}", keep(&world, seat.rank, seat.size, SEED)));
            world.leave();
        });
        let (Some(ended), Some(hosts)) = (ended, &hosts) else { continue };
        assert_eq!(ended.verdicts(&[]), vec![expected.as_str(); 2 * RANKS as usize], "{}", ended.printed);
        let sent = hosts.sent() - before;
        assert!(sent > 1 << 20, "only {sent} bytes went over the cable");
    }
}

#[test]
fn a_rank_killed_on_the_other_host_is_named_with_its_host() {
    let hosts = hosts();
    for flavour in FLAVOURS {
        let ended = play(hosts.as_ref(), flavour, "a_rank_killed_on_the_other_host_is_named_with_its_host", &[3], |seat| {
            let world = seat.join();
            let group = world.open("dp", &seat.everyone()).unwrap();
            sum(&group, 1000).unwrap();
            if seat.rank == 3 {
                // The others have all come out of the first operation by then.
                std::thread::sleep(Duration::from_millis(300));
                // SAFETY: a signal to this very process.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
            let start = Instant::now();
            let failure = sum(&group, 1 << 20).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
            seat.report(&failure);
            world.leave();
        });
        let (Some(ended), Some(hosts)) = (ended, &hosts) else { continue };
        for verdict in ended.verdicts(&[3]) {
            assert!(verdict.starts_with("PEER_LOST [3] rank 3 (pid "), "{verdict}");
            assert!(verdict.contains(&hosts.space(1)), "{verdict}");
        }
    }
}

#[test]
fn a_cable_that_is_pulled_is_explained_on_both_sides() {
    for flavour in FLAVOURS {
        let hosts = hosts();
        let ended = play(hosts.as_ref(), flavour, "a_cable_that_is_pulled_is_explained_on_both_sides", &[], |seat| {
            let settings = Settings { timeout: Duration::from_secs(40), ..seat.settings() };
            let world = seat.join_with(settings);
            let group = world.open("dp", &seat.everyone()).unwrap();
            sum(&group, 1000).unwrap();
            if seat.rank == 0 {
                std::thread::sleep(Duration::from_millis(300));
                Hosts::cut(&gethostname::gethostname().to_string_lossy());
            }
            let start = Instant::now();
            let failure = loop {
                if let Err(failure) = sum(&group, 1 << 20) {
                    break failure;
                }
            };
            assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
            seat.report(&failure);
            world.leave();
        });
        let Some(ended) = ended else { continue };
        let verdicts = ended.verdicts(&[]);
        for (rank, verdict) in verdicts.iter().enumerate() {
            let others = if rank < RANKS as usize { ["PEER_LOST [2] ", "PEER_LOST [3] "] } else { ["PEER_LOST [0] ", "PEER_LOST [1] "] };
            assert!(others.iter().any(|start| verdict.starts_with(start)), "rank {rank}: {verdict}\n{}", ended.printed);
        }
    }
}
