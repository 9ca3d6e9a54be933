//! A git daemon on a port of its own, ended by its own process id.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Serves the repositories below a directory, for reading and writing.
pub struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    /// Starts one that serves `base`.
    pub fn start(base: &Path) -> Daemon {
        let exec_path = Command::new("git").arg("--exec-path").output().expect("git is installed").stdout;
        // The wrapper `git daemon` is another process, which would outlive this one.
        let program = Path::new(String::from_utf8_lossy(&exec_path).trim()).join("git-daemon");
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let port = free.expect("a free port").port();
            let mut command = Command::new(&program);
            command.args(["--listen=127.0.0.1", "--verbose", "--export-all", "--enable=receive-pack"]);
            command.arg(format!("--port={port}")).arg(format!("--base-path={}", base.display()));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().expect("git-daemon is installed");
            let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
            if lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to rumble")) {
                std::thread::spawn(move || lines.for_each(drop));
                return Daemon { child, port };
            }
            // Somebody else took the port in between.
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("git daemon does not start");
    }

    /// The address of what is at `path` below the directory.
    pub fn url(&self, path: &str) -> String {
        format!("git://127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
