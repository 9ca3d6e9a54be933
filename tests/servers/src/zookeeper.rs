//! A ZooKeeper server from Debian's package, alone, on a free port.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{Process, free_port};

/// What must be installed: Debian's `zookeeper` and a Java.
pub const ZOOKEEPER: &[&str] = &["/usr/bin/java", "/usr/share/java/zookeeper.jar"];
/// What must be installed for TLS besides.
pub const KEYTOOL: &[&str] = &["/usr/bin/keytool", "/usr/share/java/netty-codec.jar"];

/// The password of the key store; it protects nothing.
const STORE_PASSWORD: &str = "changeit";

/// A server with one data directory, which a restart keeps.
#[derive(Debug)]
pub struct ZooKeeper {
    dir: TempDir,
    port: u16,
    secure_port: Option<u16>,
    properties: Vec<String>,
    process: Process,
}

impl ZooKeeper {
    /// Starts one, and waits until it answers. Sessions last from 1 s to 10 s.
    pub fn start() -> ZooKeeper {
        ZooKeeper::with(&[], false)
    }

    /// Starts one with system properties (`NAME=VALUE`), and with a second port for TLS if `tls` says so.
    pub fn with(properties: &[&str], tls: bool) -> ZooKeeper {
        let dir = tempfile::tempdir().expect("a directory");
        let secure_port = tls.then(|| {
            make_keys(dir.path());
            free_port()
        });
        let port = free_port();
        write_config(dir.path(), port, secure_port);
        // Only this one speaks TLS; the default one starts faster.
        let netty =
            tls.then_some("zookeeper.serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory");
        let properties: Vec<String> =
            properties.iter().copied().chain(netty).map(|p| format!("-D{p}")).collect();
        let process = run(dir.path(), &properties);
        let server = ZooKeeper { dir, port, secure_port, properties, process };
        server.wait();
        server
    }

    /// The port for clients without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT` for clients without TLS.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `HOST:PORT` for clients with TLS.
    ///
    /// # Panics
    /// When it was started without.
    pub fn secure_address(&self) -> String {
        format!("127.0.0.1:{}", self.secure_port.expect("started with TLS"))
    }

    /// The certificate of the server, in PEM; it signs itself.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    /// SIGSTOP.
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

    /// Starts it again after [`kill`](Self::kill), on the same port and data.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = run(self.dir.path(), &self.properties);
        self.wait();
    }

    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        // The server begins with the port for TLS after the other one answers.
        let listens = |port: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        while !is_ready(self.port) || !self.secure_port.is_none_or(listens) {
            assert!(Instant::now() < end, "ZooKeeper does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

fn run(dir: &Path, properties: &[String]) -> Process {
    let mut java = Command::new("java");
    // What starts fastest; the log is for the message when it does not.
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Dzookeeper.jmx.log4j.disable=true", "-Dzookeeper.forceSync=no"])
        .args(properties)
        .arg("-cp")
        .arg(format!("{}:/usr/share/java/zookeeper.jar:/usr/share/java/netty-codec.jar", dir.display()))
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(dir.join("zoo.cfg"));
    Process::start(java, &dir.join("log"))
}

fn write_config(dir: &Path, port: u16, secure_port: Option<u16>) {
    let mut config = format!(
        "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         maxClientCnxns=0\nminSessionTimeout=1000\n4lw.commands.whitelist=ruok,srvr,mntr\nautopurge.purgeInterval=0\n",
        dir.join("data").display()
    );
    if let Some(port) = secure_port {
        config.push_str(&format!(
            "secureClientPort={port}\nsecureClientPortAddress=127.0.0.1\nssl.keyStore.location={}\n\
             ssl.keyStore.password={STORE_PASSWORD}\nssl.keyStore.type=JKS\nssl.clientAuth=none\n",
            dir.join("server.jks").display()
        ));
    }
    fs::write(dir.join("zoo.cfg"), config).expect("a configuration file");
}

fn make_keys(dir: &Path) {
    let keytool = |args: &[&str]| {
        let done = Command::new("keytool").current_dir(dir).args(args).output().expect("keytool runs");
        assert!(done.status.success(), "keytool: {}", String::from_utf8_lossy(&done.stdout));
    };
    let store =
        ["-keystore", "server.jks", "-storetype", "JKS", "-storepass", STORE_PASSWORD, "-alias", "server"];
    let mut make = vec!["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=server"];
    make.extend(["-ext", "san=ip:127.0.0.1,dns:localhost", "-validity", "30", "-keypass", STORE_PASSWORD]);
    make.extend(store);
    keytool(&make);
    let mut export = vec!["-exportcert", "-rfc", "-file", "server.pem"];
    export.extend(store);
    keytool(&export);
}

fn is_ready(port: u16) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        // `ruok` is answered before anybody is served.
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    answer().is_ok_and(|answer| answer.contains("Mode: "))
}
