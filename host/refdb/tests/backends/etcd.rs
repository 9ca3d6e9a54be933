//! etcd.

use std::sync::OnceLock;
use std::time::Duration;

use refgate_servers::{Etcd, Protocol};

use super::Backend;
use super::server::{Server, ServerBackend, shared};

pub fn backend() -> Backend {
    static SHARED: OnceLock<String> = OnceLock::new();
    let start = || shared(&SHARED, start, url);
    Backend { name: "etcd", missing: Etcd::missing(), lacks: &[], start }
}

pub fn server() -> ServerBackend {
    ServerBackend {
        name: "etcd",
        missing: Etcd::missing(),
        start,
        protocol: Protocol::Http2,
        budget: 90,
        lease: Duration::from_secs(5),
    }
}

fn start() -> Box<dyn Server> {
    Box::new(Etcd::start())
}

fn url(address: &str, root: &str) -> String {
    format!("etcd://{address}/{root}")
}

impl Server for Etcd {
    fn address(&self) -> String {
        Etcd::address(self)
    }
    fn url(&self, address: &str) -> String {
        url(address, "refs")
    }
    fn stop(&self) {
        Etcd::stop(self);
    }
    fn cont(&self) {
        Etcd::cont(self);
    }
    fn kill(&mut self) {
        Etcd::kill(self);
    }
    fn restart(&mut self) {
        Etcd::restart(self);
    }
}
