//! 10,000 entries in one bulk read beside the same read one by one, for every store with a server that is installed here:
//! on loopback, and behind a delay of 5 ms each way. Round trips are counted by the proxy.
//! `cargo bench --profile dev -p refgate-refdb --bench bulk --features etcd`.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use refgate_core::{
    Atomicity, BoxFuture, Clock, Deadline, Edit, Expected, GlobalRef, Oid, Project, RefDb, RefName,
};
use refgate_refdb::{Location, OpenMode, open};
use refgate_servers::{Mode, Protocol, Proxy};

const REFS: usize = 10_000;
/// Reads one by one are timed on so many refs, and counted for all.
const SINGLES: usize = 200;

struct RealClock;

#[allow(clippy::disallowed_methods)]
impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn unix_time(&self) -> Duration {
        Duration::ZERO
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(work)
}

fn deadline() -> Deadline {
    Deadline::after(&RealClock, Duration::from_secs(120))
}

fn store(url: &str) -> RefDb {
    open(&Location::new(url, Path::new("/")), OpenMode::Create, Arc::new(RealClock)).expect("it opens").db
}

fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let start = RealClock.now();
    let done = block_on(work);
    (RealClock.now() - start, done)
}

fn fill(db: &RefDb, project: &Project, refs: &[RefName]) {
    let value = GlobalRef::At(Oid::from_hex(&[b'a'; 40]).expect("an oid"));
    let edits: Vec<Edit> = refs.iter().map(|r| Edit::new(r.clone(), Expected::Absent, value)).collect();
    for chunk in edits.chunks(1000) {
        block_on(db.compare_and_put(project, chunk, Atomicity::Each, deadline())).expect("it is filled");
    }
}

/// One line per way: the store behind `url`, with what `proxy` counts and delays.
#[allow(clippy::print_stdout)]
fn measure(name: &str, db: &RefDb, proxy: Option<&Proxy>, project: &Project, refs: &[RefName]) {
    let delays: &[u64] = if proxy.is_some() { &[0, 5] } else { &[0] };
    for delay in delays {
        if let Some(proxy) = proxy {
            let mode = if *delay == 0 { Mode::Pass } else { Mode::Delay(Duration::from_millis(*delay)) };
            proxy.set(mode);
        }
        // The first call of a client may connect.
        block_on(db.get_many(project, &refs[..1], deadline())).expect("a read");
        if let Some(proxy) = proxy {
            proxy.reset_counts();
        }
        let mut bulk: Vec<Duration> = Vec::new();
        for _ in 0..3 {
            let (took, found) = timed(db.get_many(project, refs, deadline()));
            assert_eq!(found.expect("a read").len(), refs.len());
            bulk.push(took);
        }
        bulk.sort();
        let round_trips = proxy.map(|proxy| proxy.counts().requests / 3);
        let (single, ()) = timed(async {
            for one in &refs[..SINGLES] {
                db.get_many(project, std::slice::from_ref(one), deadline()).await.expect("a read");
            }
        });
        let one_by_one = single * (refs.len() / SINGLES) as u32;
        let ratio = one_by_one.as_secs_f64() / bulk[1].as_secs_f64();
        let trips = round_trips.map_or("-".to_owned(), |n| n.to_string());
        println!(
            "{name:<10} {:>5} ms  bulk {:>9.1} ms  round trips {trips:>4}  one by one {:>10.1} ms  ratio {ratio:>7.1}",
            delay * 2,
            bulk[1].as_secs_f64() * 1e3,
            one_by_one.as_secs_f64() * 1e3,
        );
    }
}

/// A store with a server: filled directly, measured through a proxy.
#[cfg_attr(not(any(feature = "zookeeper", feature = "etcd")), allow(dead_code))]
fn with_server(name: &str, port: u16, protocol: Protocol, path: &str, project: &Project, refs: &[RefName]) {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    fill(&store(&format!("{name}://{server}/{path}")), project, refs);
    let proxy = Proxy::start(server, protocol);
    let db = store(&format!("{name}://{}/{path}", proxy.address()));
    measure(name, &db, Some(&proxy), project, refs);
}

#[allow(clippy::print_stdout)]
fn main() {
    let project = Project::new("team/app").expect("a project");
    let name = |i: usize| RefName::new(format!("refs/changes/{:02}/{i}/meta", i % 100)).expect("a name");
    let refs: Vec<RefName> = (0..REFS).map(name).collect();
    println!(
        "{REFS} refs: store, round trip, one bulk read, the same one by one (from {SINGLES}), their ratio"
    );
    let dir = tempfile::tempdir().expect("a directory");
    let sqlite = store(&format!("sqlite:{}", dir.path().join("r.sqlite").display()));
    fill(&sqlite, &project, &refs);
    measure("sqlite", &sqlite, None, &project, &refs);
    #[cfg(feature = "zookeeper")]
    match refgate_servers::missing("zookeeper", refgate_servers::ZOOKEEPER) {
        Some(why) => println!("zookeeper: {why}"),
        None => {
            let server = refgate_servers::ZooKeeper::start();
            with_server(
                "zookeeper",
                server.port(),
                Protocol::ZooKeeper,
                "gerrit/multi-site",
                &project,
                &refs,
            );
        }
    }
    #[cfg(feature = "etcd")]
    match refgate_servers::Etcd::missing() {
        Some(why) => println!("etcd: {why}"),
        None => {
            let server = refgate_servers::Etcd::start();
            let port = server.address().rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
            with_server("etcd", port, Protocol::Http2, "refgate", &project, &refs);
        }
    }
}
