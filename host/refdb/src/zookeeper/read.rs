//! Reads in batches: one round trip for hundreds of nodes.

use std::sync::atomic::Ordering;

use futures_util::{StreamExt, TryStreamExt, stream};
use refgate_core::{BoxFuture, Lookup};
use zookeeper_client::{Client, Error, MultiReadResult, Stat};

use super::codec;
use super::ensemble::Ensemble;
use super::link::Link;

/// Most operations in one read: what ZooKeeper 3.9.7 takes when nobody configures it otherwise.
pub(super) const BATCH: usize = 1000;
/// Most bytes in one packet: `jute.maxbuffer` is 1 MiB, and a server hangs up on more.
pub(super) const PACKET: usize = 900_000;
/// Bytes of an operation beside its path and its data, at most.
pub(super) const FRAME: usize = 128;
/// Batches in flight at once.
const IN_FLIGHT: usize = 8;
/// Single reads in flight at once, for servers that know no batches.
const SINGLES: usize = 1000;

/// A node as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub data: Vec<u8>,
    /// Grows with every change of the data.
    pub version: i32,
    pub children: i32,
    /// The transaction that changed the data last.
    pub changed: i64,
}

impl Node {
    pub(super) fn new(data: Vec<u8>, stat: &Stat) -> Node {
        Node { data, version: stat.version, children: stat.num_children, changed: stat.mzxid }
    }
}

/// One read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask<'a> {
    Data(&'a str),
    Children(&'a str),
}

impl<'a> Ask<'a> {
    fn path(self) -> &'a str {
        match self {
            Ask::Data(path) | Ask::Children(path) => path,
        }
    }
}

/// What one read gave.
#[derive(Debug)]
pub(super) enum Answer {
    Node(Node),
    Children(Vec<String>),
    /// There is no such node.
    Nothing,
}

impl Answer {
    pub(super) fn node(self) -> Option<Node> {
        match self {
            Answer::Node(node) => Some(node),
            Answer::Children(_) | Answer::Nothing => None,
        }
    }

    pub(super) fn children(self) -> Vec<String> {
        match self {
            Answer::Children(children) => children,
            Answer::Node(_) | Answer::Nothing => Vec::new(),
        }
    }
}

/// The value node and the superseded list of one ref.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub value: Option<Node>,
    pub list: Option<Node>,
}

impl Record {
    /// What it means.
    pub(super) fn lookup(&self) -> Lookup {
        let data = |node: &Option<Node>| node.as_ref().map(|node| node.data.clone()).unwrap_or_default();
        codec::lookup(&data(&self.value), &data(&self.list))
    }
}

impl Ensemble {
    /// The records behind pairs of nodes, in order. `sync` first catches up with what was written until now.
    pub(super) async fn records(
        &self,
        link: &Link,
        nodes: &[(String, String)],
        sync: bool,
    ) -> Result<Vec<Record>, Error> {
        // The value first: of a list that is newer than the value nothing bad comes, of one that is older it does.
        let asks: Vec<Ask<'_>> =
            nodes.iter().flat_map(|(value, list)| [Ask::Data(value), Ask::Data(list)]).collect();
        let mut answers = self.ask(link, &asks, sync).await?.into_iter().map(Answer::node);
        let mut records = Vec::with_capacity(nodes.len());
        while let (Some(value), Some(list)) = (answers.next(), answers.next()) {
            records.push(Record { value, list });
        }
        Ok(records)
    }

    /// Asks for many nodes, in order.
    pub(super) async fn ask(&self, link: &Link, asks: &[Ask<'_>], sync: bool) -> Result<Vec<Answer>, Error> {
        let client = link.client();
        // A session's requests are served in order, so nobody has to wait for the answer.
        let caught_up = sync.then(|| client.sync(&self.settings.layout.root));
        let batch = self.batch.load(Ordering::Relaxed);
        let answers = match batch {
            0 => singles(client, asks).await?,
            _ => {
                let mut reads: Vec<BoxFuture<'_, Result<Vec<Answer>, Error>>> = Vec::new();
                for chunk in chunks(asks, batch) {
                    reads.push(Box::pin(self.batch(client, chunk)));
                }
                let chunks: Vec<Vec<Answer>> = stream::iter(reads).buffered(IN_FLIGHT).try_collect().await?;
                chunks.into_iter().flatten().collect()
            }
        };
        match caught_up {
            Some(caught_up) => caught_up.await.map(|()| answers),
            None => Ok(answers),
        }
    }

    /// One batch, in smaller parts when the server does not take it.
    async fn batch(&self, client: &Client, chunk: &[Ask<'_>]) -> Result<Vec<Answer>, Error> {
        let mut answers = Vec::with_capacity(chunk.len());
        let mut rest = chunk;
        let mut size = chunk.len();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            let mut reader = client.new_multi_reader();
            for ask in now {
                match ask {
                    Ask::Data(path) => reader.add_get_data(path)?,
                    Ask::Children(path) => reader.add_get_children(path)?,
                }
            }
            match reader.commit().await {
                Ok(results) if results.len() == now.len() => {
                    for result in results {
                        answers.push(answer(result)?);
                    }
                    rest = later;
                }
                Ok(results) => {
                    let what = format!("{} answers to {} reads", results.len(), now.len());
                    return Err(Error::UnexpectedError(what));
                }
                Err(Error::BadArguments(_)) if now.len() > 1 => {
                    size = now.len().div_ceil(2);
                    // The next call begins with what this one found out.
                    self.batch.fetch_min(size, Ordering::Relaxed);
                }
                Err(Error::Unimplemented) => {
                    self.batch.store(0, Ordering::Relaxed);
                    answers.extend(singles(client, rest).await?);
                    return Ok(answers);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(answers)
    }
}

fn answer(result: MultiReadResult) -> Result<Answer, Error> {
    match result {
        MultiReadResult::Data { data, stat } => Ok(Answer::Node(Node::new(data, &stat))),
        MultiReadResult::Children { children } => Ok(Answer::Children(children)),
        MultiReadResult::Error { err: Error::NoNode } => Ok(Answer::Nothing),
        MultiReadResult::Error { err } => Err(err),
        other => Err(Error::UnexpectedError(format!("unknown answer {other:?}"))),
    }
}

/// One request per node, many in flight.
async fn singles(client: &Client, asks: &[Ask<'_>]) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::with_capacity(asks.len());
    for some in asks.chunks(SINGLES) {
        // Each request is sent here, and answered below.
        let mut sent: Vec<BoxFuture<'_, Result<Answer, Error>>> = Vec::with_capacity(some.len());
        for ask in some {
            match ask {
                Ask::Data(path) => {
                    let data = client.get_data(path);
                    sent.push(Box::pin(async {
                        data.await.map(|(data, stat)| Answer::Node(Node::new(data, &stat)))
                    }));
                }
                Ask::Children(path) => {
                    let children = client.list_children(path);
                    sent.push(Box::pin(async { children.await.map(Answer::Children) }));
                }
            }
        }
        for one in sent {
            match one.await {
                Ok(answer) => answers.push(answer),
                Err(Error::NoNode) => answers.push(Answer::Nothing),
                Err(e) => return Err(e),
            }
        }
    }
    Ok(answers)
}

/// Parts of at most `batch` reads that fit into a packet.
fn chunks<'a, 'b>(asks: &'b [Ask<'a>], batch: usize) -> Vec<&'b [Ask<'a>]> {
    let (mut chunks, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (at, ask) in asks.iter().enumerate() {
        let more = ask.path().len() + FRAME;
        if at - from == batch || (at > from && bytes + more > PACKET) {
            chunks.push(&asks[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += more;
    }
    if from < asks.len() {
        chunks.push(&asks[from..]);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_by_number_and_by_bytes() {
        let sizes = |asks: &[Ask<'_>]| chunks(asks, 1000).iter().map(|c| c.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[Ask::Data("/a"); 999]), [999]);
        assert_eq!(sizes(&[Ask::Data("/a"); 1000]), [1000]);
        assert_eq!(sizes(&[Ask::Data("/a"); 2001]), [1000, 1000, 1]);
        let long = "x".repeat(8000);
        assert!(sizes(&[Ask::Children(&long); 300]).iter().all(|n| n * (8000 + FRAME) <= PACKET));
    }
}
