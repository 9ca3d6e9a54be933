//! ZooKeeper.

use std::sync::OnceLock;
use std::time::Duration;

use refgate_servers::{Protocol, ZOOKEEPER, ZooKeeper, missing};

use super::Backend;
use super::server::{Server, ServerBackend, shared};

pub fn backend() -> Backend {
    static SHARED: OnceLock<String> = OnceLock::new();
    let start = || shared(&SHARED, start, url);
    // A read of several batches sees several moments.
    Backend { name: "zookeeper", missing: missing("zookeeper", ZOOKEEPER), lacks: &[100], start }
}

pub fn server() -> ServerBackend {
    ServerBackend {
        name: "zookeeper",
        missing: missing("zookeeper", ZOOKEEPER),
        start,
        protocol: Protocol::ZooKeeper,
        budget: 21,
        lease: Duration::from_secs(5),
    }
}

fn start() -> Box<dyn Server> {
    Box::new(ZooKeeper::start())
}

fn url(address: &str, root: &str) -> String {
    format!("zookeeper://{address}/{root}")
}

impl Server for ZooKeeper {
    fn address(&self) -> String {
        ZooKeeper::address(self)
    }
    fn url(&self, address: &str) -> String {
        url(address, "refs")
    }
    fn stop(&self) {
        ZooKeeper::stop(self);
    }
    fn cont(&self) {
        ZooKeeper::cont(self);
    }
    fn kill(&mut self) {
        ZooKeeper::kill(self);
    }
    fn restart(&mut self) {
        ZooKeeper::restart(self);
    }
}
