//! Network namespaces: a machine of its own for a workload, with the rules of iptables that a Kubernetes sidecar has.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};

/// The group of the proxies, by which their own connections are told from the applications'. Istio's.
pub const PROXY_GROUP: u32 = 1337;
/// A port that is never intercepted: where the control plane listens.
pub const CONTROL_PLANE_PORT: u16 = 18_000;

static MADE: AtomicU16 = AtomicU16::new(0);

/// One namespace, and threads that live in it. It goes when it is dropped.
pub struct Namespace {
    name: String,
    runtime: Option<Runtime>,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = run(&["ip", "netns", "del", &self.name]);
    }
}

/// Two namespaces with a cable between them.
pub struct Pair {
    pub namespaces: [Namespace; 2],
    /// Their addresses, in the same order.
    pub addresses: [std::net::Ipv4Addr; 2],
}

impl Pair {
    /// Makes them.
    ///
    /// # Errors
    /// Why that cannot be done here.
    pub fn new() -> Result<Self, String> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let third = u8::try_from((std::process::id() + u32::from(number) * 97) % 250).unwrap();
        let addresses = [1, 2].map(|host| std::net::Ipv4Addr::new(10, 205, third, host));
        let [left, right] = ["a", "b"].map(|side| format!("cs{}{side}{number}", std::process::id()));
        let namespaces = [Namespace::new(&left)?, Namespace::new(&right)?];
        run(&["ip", "link", "add", "eth0", "netns", &left, "type", "veth", "peer", "name", "eth0", "netns", &right])?;
        for (this, (own, other)) in namespaces.iter().zip([(0, 1), (1, 0)]) {
            let (own, other) = (format!("{}/24", addresses[own]), addresses[other].to_string());
            this.run_here(&["ip", "address", "add", &own, "dev", "eth0"])?;
            this.run_here(&["ip", "link", "set", "eth0", "up"])?;
            this.run_here(&["ip", "link", "set", "lo", "up"])?;
            // Services have addresses that nobody has: there has to be a way to them before they are intercepted.
            this.run_here(&["ip", "route", "add", "default", "via", &other])?;
            this.intercept()?;
        }
        Ok(Self { namespaces, addresses })
    }
}

impl Namespace {
    fn new(name: &str) -> Result<Self, String> {
        run(&["ip", "netns", "add", name])?;
        let mut made = Self { name: name.to_owned(), runtime: None };
        let file = File::open(format!("/run/netns/{name}")).map_err(|e| e.to_string())?;
        let enter = move || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), network).expect("a thread enters the namespace");
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().on_thread_start(enter).build();
        made.runtime = Some(runtime.map_err(|e| e.to_string())?);
        Ok(made)
    }

    /// Runs what opens sockets or starts processes: those are the namespace's.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().unwrap();
        match runtime.spawn(work).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn run_here(&self, command: &[&str]) -> Result<(), String> {
        run(&[&["ip", "netns", "exec", &self.name], command].concat())
    }

    /// The rules that Istio's init container makes (REDIRECT): what comes goes to 15006 and what is sent to 15001, but for what the
    /// proxy itself sends, and the last part of the way to the application.
    fn intercept(&self) -> Result<(), String> {
        let rules = format!(
            "*nat
-A PREROUTING -p tcp --dport {CONTROL_PLANE_PORT} -j RETURN
-A PREROUTING -p tcp -j REDIRECT --to-ports 15006
-A OUTPUT -p tcp --dport {CONTROL_PLANE_PORT} -j RETURN
-A OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A OUTPUT -p tcp -o lo ! -d 127.0.0.1/32 -m owner --gid-owner {PROXY_GROUP} -j REDIRECT --to-ports 15006
-A OUTPUT -o lo -m owner ! --gid-owner {PROXY_GROUP} -j RETURN
-A OUTPUT -m owner --gid-owner {PROXY_GROUP} -j RETURN
-A OUTPUT -d 127.0.0.1/32 -j RETURN
-A OUTPUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
"
        );
        let mut restore = Command::new("ip");
        restore.args(["netns", "exec", &self.name, "iptables-restore"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = restore.spawn().map_err(|e| format!("iptables-restore: {e}"))?;
        child.stdin.take().unwrap().write_all(rules.as_bytes()).map_err(|e| e.to_string())?;
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("iptables-restore: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}

fn run(command: &[&str]) -> Result<(), String> {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.map_err(|e| format!("{}: {e}", command[0]))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}
