//! One etcd server with its data in a temporary directory, plain or behind TLS.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Certificates, Process, free_port, missing};

const PROGRAM: &str = "/usr/bin/etcd";
const CONTROL: &str = "/usr/bin/etcdctl";

/// What is not as usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct EtcdSetup {
    /// Clients come over TLS, and show a certificate of their own if `client` says so.
    pub tls: bool,
    /// With TLS: clients must have a certificate.
    pub client_certificates: bool,
    /// Most operations in one transaction, instead of 128.
    pub max_txn_ops: Option<usize>,
    /// Most bytes of data, instead of 2 GB.
    pub quota: Option<usize>,
}

/// A running server. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    setup: EtcdSetup,
    dir: TempDir,
    place: Place,
}

/// Where a server listens, and whom it knows.
#[derive(Clone, Debug)]
struct Place {
    port: u16,
    peer: u16,
    metrics: u16,
    /// `NAME=URL` of every member of its cluster.
    members: Vec<String>,
}

impl Place {
    fn find() -> Place {
        let (port, peer, metrics) = (free_port(), free_port(), free_port());
        Place { port, peer, metrics, members: vec![member(peer)] }
    }
}

fn member(peer: u16) -> String {
    format!("m{peer}=http://127.0.0.1:{peer}")
}

impl Etcd {
    /// Why it cannot be started here, see [`missing`].
    pub fn missing() -> Option<String> {
        missing("etcd", &[PROGRAM, CONTROL])
    }

    /// Starts a server and waits until it answers.
    pub fn start() -> Etcd {
        Etcd::start_with(EtcdSetup::default())
    }

    /// Starts a server that is not as usual and waits until it answers.
    pub fn start_with(setup: EtcdSetup) -> Etcd {
        // A port that was free may be taken before the server has it.
        for _ in 0..5 {
            let mut server = Etcd::launched(setup, Place::find());
            if server.ready() {
                return server;
            }
        }
        panic!("etcd ends as soon as it is started");
    }

    /// Starts a cluster of `n` servers and waits until all of them answer.
    pub fn cluster(n: usize) -> Vec<Etcd> {
        let mut places: Vec<Place> = (0..n).map(|_| Place::find()).collect();
        let members: Vec<String> = places.iter().map(|place| member(place.peer)).collect();
        places.iter_mut().for_each(|place| place.members = members.clone());
        let mut servers: Vec<Etcd> =
            places.into_iter().map(|place| Etcd::launched(EtcdSetup::default(), place)).collect();
        servers.iter_mut().for_each(Etcd::wait);
        servers
    }

    fn launched(setup: EtcdSetup, place: Place) -> Etcd {
        let dir = tempfile::tempdir().expect("a temporary directory");
        if setup.tls {
            Certificates::make(dir.path());
        }
        Etcd { process: launch(setup, dir.path(), &place), setup, dir, place }
    }

    /// `127.0.0.1:PORT` for clients.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.place.port)
    }

    /// Runs `etcdctl` at this server, as another program that uses it, and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn control<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Vec<u8> {
        let mut command = Command::new(CONTROL);
        let scheme = if self.setup.tls { "https" } else { "http" };
        command.env("ETCDCTL_API", "3").args(["--endpoints", &format!("{scheme}://{}", self.address())]);
        if self.setup.tls {
            command.arg("--cacert").arg(self.file("ca.pem"));
            command.arg("--cert").arg(self.file("client.pem"));
            command.arg("--key").arg(self.file("client.key"));
        }
        let done = command.args(args).output().expect("etcdctl runs");
        assert!(done.status.success(), "etcdctl: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }

    /// A file of the directory of the server: with TLS `ca.pem`, `client.pem`, `client.key`, `stranger.pem`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.process.cont();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it anew on the same data and ports, after [`Etcd::kill`]. The new process dies with this thread.
    pub fn restart(&mut self) {
        self.process = launch(self.setup, self.dir.path(), &self.place);
        self.wait();
    }

    /// How many requests of the kind `method` (`Range`, `Txn`, …) it has answered.
    pub fn answered(&self, method: &str) -> u64 {
        let text = self.get("/metrics").expect("it tells its metrics");
        let (name, of) = ("grpc_server_handled_total{", format!("grpc_method=\"{method}\""));
        let counts = text.lines().filter(|line| line.starts_with(name) && line.contains(&of));
        counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }

    fn wait(&mut self) {
        assert!(self.ready(), "etcd ended:\n{}", self.log());
    }

    /// Waits until it answers; `false` when it ended instead.
    fn ready(&mut self) -> bool {
        let start = Instant::now();
        while !self.get("/health").is_some_and(|text| text.contains("\"true\"")) {
            if self.process.ended().is_some() {
                return false;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "etcd does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    /// From the address that is never behind TLS.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.place.metrics)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }
}

fn launch(setup: EtcdSetup, dir: &Path, place: &Place) -> Process {
    let mut command = Command::new(PROGRAM);
    // What is set in the environment would go before what is said here.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
        command.env_remove(name);
    }
    let scheme = if setup.tls { "https" } else { "http" };
    let own = format!("{scheme}://127.0.0.1:{}", place.port);
    let peers = format!("http://127.0.0.1:{}", place.peer);
    let name = format!("m{}", place.peer);
    command.args(["--name", &name, "--log-level", "warn", "--data-dir"]).arg(dir.join("data"));
    command.args(["--listen-client-urls", &own, "--advertise-client-urls", &own]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    command.args(["--initial-cluster", &place.members.join(",")]);
    command.args(["--listen-metrics-urls", &format!("http://127.0.0.1:{}", place.metrics)]);
    // Counters per method.
    command.args(["--metrics", "extensive"]);
    if setup.tls {
        command.arg("--cert-file").arg(dir.join("server.pem"));
        command.arg("--key-file").arg(dir.join("server.key"));
    }
    if setup.client_certificates {
        command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(dir.join("ca.pem"));
    }
    if let Some(most) = setup.max_txn_ops {
        command.args(["--max-txn-ops", &most.to_string()]);
    }
    if let Some(quota) = setup.quota {
        command.args(["--quota-backend-bytes", &quota.to_string()]);
    }
    Process::start(command, &dir.join("log"))
}
