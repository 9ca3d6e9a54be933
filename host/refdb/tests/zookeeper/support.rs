//! What the tests of this backend share: a server with a store on it, and a plain client that looks at the nodes.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refgate_core::{LockToken, RefDb, RefDbError, RefLock};
use refgate_refdb::{Access, Location, OpenMode, Opened, open};
use refgate_servers::ZooKeeper;
use zookeeper_client::{Acls, Client, CreateMode, Error, Stat};

use crate::common::{RealClock, Store, block_on, name, now, pause, project, within};

/// A URL on `address` with a session of 2 s.
pub fn url(address: &str, options: &str) -> String {
    format!("zookeeper://{address}/gerrit/multi-site?sessionTimeoutMs=2000{options}")
}

pub fn open_url(url: &str, mode: OpenMode) -> Result<Opened, RefDbError> {
    open(&Location::new(url, "/"), mode, Arc::new(RealClock))
}

pub fn store_at(address: &str, options: &str) -> Store {
    Store(open_url(&url(address, options), OpenMode::Create).unwrap().db)
}

/// A new server with an empty store.
pub fn lab() -> (ZooKeeper, Store) {
    let server = ZooKeeper::start();
    let store = store_at(&server.address(), "");
    (server, store)
}

pub fn lock(store: &Store, r: &str, ms: u64) -> Result<Box<dyn RefLock>, RefDbError> {
    block_on(store.0.lock(&project("p"), &name(r), Duration::ZERO, within(ms)))
}

pub fn release(lock: Box<dyn RefLock>) {
    block_on(lock.release(within(5_000))).unwrap();
}

/// Waits until `done`, at most 15 s.
pub fn until(what: &str, done: impl Fn() -> bool) {
    let start = now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(15), "never: {what}");
        pause(20);
    }
}

/// Where a token's node is.
pub fn hold_path(token: &LockToken) -> String {
    format!("/gerrit/multi-site/locks/p/{}/{}", token.name, token.holder)
}

/// A client of its own, to look at nodes and to do what others do.
pub struct Raw {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Raw {
    pub fn new(server: &ZooKeeper) -> Raw {
        Raw::with(&server.address(), None)
    }

    pub fn with(address: &str, user: Option<&str>) -> Raw {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut connector = Client::connector().with_session_timeout(Duration::from_secs(10));
        if let Some(user) = user {
            connector = connector.with_auth("digest", user.as_bytes());
        }
        let client = runtime.block_on(connector.connect(address)).unwrap();
        Raw { runtime, client }
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn get(&self, path: &str) -> Option<(String, Stat)> {
        match self.run(self.client.get_data(path)) {
            Ok((data, stat)) => Some((String::from_utf8(data).unwrap(), stat)),
            Err(Error::NoNode) => None,
            Err(e) => panic!("{path}: {e}"),
        }
    }

    pub fn data(&self, path: &str) -> Option<String> {
        self.get(path).map(|(data, _)| data)
    }

    pub fn stat(&self, path: &str) -> Stat {
        self.get(path).unwrap_or_else(|| panic!("no {path}")).1
    }

    pub fn children(&self, path: &str) -> Vec<String> {
        match self.run(self.client.list_children(path)) {
            Ok(mut children) => {
                children.sort();
                children
            }
            Err(Error::NoNode) => Vec::new(),
            Err(e) => panic!("{path}: {e}"),
        }
    }

    /// Creates a node with containers above it, as Gerrit's plugin does.
    pub fn create(&self, path: &str, data: &[u8]) {
        let (parent, _) = path.rsplit_once('/').unwrap();
        let acls = Acls::anyone_all();
        self.run(async {
            self.client.mkdir(parent, &CreateMode::Container.with_acls(acls)).await.unwrap();
            self.client.create(path, data, &CreateMode::Persistent.with_acls(acls)).await.unwrap();
        });
    }

    pub fn set(&self, path: &str, data: &[u8]) {
        self.run(self.client.set_data(path, data, None)).unwrap();
    }

    pub fn delete(&self, path: &str) {
        self.run(self.client.delete(path, None)).unwrap();
    }
}

/// A location whose password comes from a file.
pub fn with_password(address: &str, user: &str, password: &str, dir: &Path) -> Location {
    use std::os::unix::fs::PermissionsExt;
    let file = dir.join(format!("password-{password}"));
    std::fs::write(&file, format!("{password}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = url(address, &format!("&user={user}&passwordFile={}", file.display()));
    Location { url, base_dir: dir.into(), access: Access::default() }
}

pub fn db(store: &Store) -> &RefDb {
    &store.0
}
