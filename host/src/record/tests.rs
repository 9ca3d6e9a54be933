//! A recording is written, survives what kills and full disks do to it, and is asked again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, mpsc};

use refgate_core::future::ready;
use refgate_core::{
    Answer, BoxFuture, Direction, FilterError, FilterSet, Observer, Project, RefBatch, RefFilter, chain,
};

use super::*;

/// Discards what begins with a prefix; waits at a gate first if there is one.
struct Prefix(&'static [u8]);

impl RefFilter for Prefix {
    fn name(&self) -> &str {
        "prefix"
    }

    fn look(&self, batch: Arc<RefBatch>) -> BoxFuture<'_, Result<Answer, FilterError>> {
        let discards = vec![(batch.select_prefix(self.0), "own".to_owned())];
        ready(Ok(Answer { discards, rechecks: batch.select(1, 0), problems: Vec::new() }))
    }
}

fn set(prefix: &'static [u8]) -> FilterSet {
    FilterSet { generation: 7, push: vec![Arc::new(Prefix(prefix))], ..FilterSet::default() }
}

fn batch(names: &[&[u8]], oid_len: usize) -> Arc<RefBatch> {
    let mut batch = RefBatch {
        direction: Direction::Push,
        project: Project::new("team/app").unwrap(),
        peer: "b".to_owned(),
        oid_len,
        attempt: 0,
        now_ms: 7,
        states: (0..names.len() as u32).map(|i| (i + 1) | 1 << 9).collect(),
        names: Vec::new(),
        name_ends: Vec::new(),
        new_oids: vec![0xab; names.len() * oid_len],
        old_oids: vec![0; names.len() * oid_len],
        local_oids: vec![0xab; names.len() * oid_len],
        global_oids: vec![0x12; names.len() * oid_len],
        groups: (5..).take(names.len()).collect(),
    };
    for name in names {
        batch.names.extend_from_slice(name);
        batch.name_ends.push(batch.names.len() as u32);
    }
    Arc::new(batch)
}

type Notes = Arc<Mutex<Vec<String>>>;

fn notes() -> (Notes, Note) {
    let notes = Notes::default();
    let into = notes.clone();
    (notes, Box::new(move |text| into.lock().unwrap().push(text.to_owned())))
}

/// Looks at the batches with a recorder and returns what it noted.
async fn record(file: &std::path::Path, max: u64, batches: &[Arc<RefBatch>]) -> Vec<String> {
    let (notes, note) = notes();
    let recorder = Arc::new(Recorder::open(file, max, note).unwrap());
    let set = FilterSet { observer: Some(recorder.clone()), ..set(b"refs/wip/") };
    for batch in batches {
        chain::look(&set, batch).await;
    }
    recorder.finish();
    notes.lock().unwrap().clone()
}

async fn again(file: &std::path::Path, set: &FilterSet) -> Result<(Replayed, Vec<Changed>), crate::Error> {
    let mut changes = Vec::new();
    let done = replay(file, set, |c| changes.push(c)).await?;
    Ok((done, changes))
}

#[tokio::test]
async fn what_is_recorded_is_asked_again_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("looks");
    let names: [&[u8]; 4] =
        [b"refs/heads/main", b"refs/wip/100%", b"refs/wip/\xff", "refs/heads/ü".as_bytes()];
    let batches = [batch(&names, 20), batch(&names[..1], 32), batch(&[], 20)];
    assert_eq!(record(&file, DEFAULT_MAX, &batches).await, [""; 0]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // Nothing is lost on the way: the batches are the same ones.
    let text = fs::read_to_string(&file).unwrap();
    let read: Vec<_> = text
        .lines()
        .skip(1)
        .map(|l| serde_json::from_str::<format::LookLine>(l).unwrap().into_batch().unwrap().0)
        .collect();
    assert_eq!(read, batches);

    let (done, changes) = again(&file, &set(b"refs/wip/")).await.unwrap();
    assert_eq!((done.looks, done.refs, done.changed), (3, 5, 0));
    assert_eq!((changes, done.notes, done.problems), (vec![], vec![], vec![]));

    let (done, changes) = again(&file, &set(b"refs/heads/main")).await.unwrap();
    assert_eq!(done.changed, 4);
    let names: Vec<_> = changes.iter().map(|c| (c.line, c.name.as_str())).collect();
    let want = [(2, "refs/heads/main"), (2, "refs/wip/100%25"), (2, "refs/wip/%FF"), (3, "refs/heads/main")];
    assert_eq!(names, want);
    let own = chain::Said::Discard { reason: "own".into(), by: "prefix".into() };
    assert_eq!((&changes[0].was, &changes[0].now), (&chain::Said::Keep, &own));
    // The state of the second one says that it may not go, so the filter asks for a recheck.
    assert_eq!((&changes[1].was, &changes[1].now), (&own, &chain::Said::Recheck { by: "prefix".into() }));
}

#[tokio::test]
async fn a_line_that_a_kill_cut_off_is_left_aside_also_when_recording_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("looks");
    let batches = [batch(&[b"refs/heads/a"], 20), batch(&[b"refs/heads/b"], 20)];
    record(&file, DEFAULT_MAX, &batches).await;
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 30]).unwrap();
    let (done, changes) = again(&file, &set(b"refs/wip/")).await.unwrap();
    assert_eq!((done.looks, changes.len()), (1, 0));
    assert!(done.notes[0].starts_with("line 3 is cut off"), "{:?}", done.notes);

    record(&file, DEFAULT_MAX, &batches).await;
    let (done, changes) = again(&file, &set(b"refs/wip/")).await.unwrap();
    assert_eq!((done.looks, changes.len(), done.notes.len()), (3, 0, 1));
}

#[tokio::test]
async fn what_is_no_recording_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("looks");
    record(&file, DEFAULT_MAX, &[batch(&[b"refs/heads/a"], 20)]).await;
    let good = fs::read_to_string(&file).unwrap();
    let (header, look) = good.split_once('\n').unwrap();
    let bad_oid = look.replace(&"ab".repeat(20), "abcd");
    for (text, parts) in [
        (String::new(), ["line 1 ", "empty"]),
        (look.to_owned(), ["line 1 ", "no header"]),
        (header.replace(":1", ":2") + "\n", ["line 1 ", "version 2"]),
        (format!("{header}\n{{}}\n{look}"), ["line 2 ", "missing field"]),
        (format!("{header}\n{look}what\n"), ["line 3 ", "expected value"]),
        (format!("{header}\n{bad_oid}"), ["line 2 ", "40 or 64 hex digits, this has 4"]),
        (format!("{header}\n{}", look.replace("\"keep\"", "\"discard\"")), ["line 2 ", "without a reason"]),
        (format!("{header}\n{}", look.replace("refs/heads/a", "refs/heads/a..b")), ["line 2 ", "a..b"]),
    ] {
        fs::write(&file, &text).unwrap();
        let e = again(&file, &set(b"refs/wip/")).await.unwrap_err();
        parts.iter().for_each(|p| assert!(e.message.contains(p), "{p}: {e} for {text}"));
    }
    // Nor is it continued.
    fs::write(&file, "precious\n").unwrap();
    let e = Recorder::open(&file, DEFAULT_MAX, Box::new(|_| {})).err().unwrap();
    assert!(e.message.contains("does not begin as a refgate-record"), "{e}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious\n");
}

#[tokio::test]
async fn a_recording_keeps_within_its_size_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("looks");
    let batches: Vec<_> = (0..3).map(|_| batch(&[b"refs/heads/a"], 20)).collect();
    record(&file, DEFAULT_MAX, &batches[..1]).await;
    let one = fs::metadata(&file).unwrap().len();
    fs::remove_file(&file).unwrap();
    let notes = record(&file, one + 10, &batches).await;
    assert_eq!(fs::metadata(&file).unwrap().len(), one);
    assert!(notes[0].contains("does not fit"), "{notes:?}");
    assert!(notes[1].starts_with("2 looks are not in the recording"), "{notes:?}");
    let (done, _) = again(&file, &set(b"refs/wip/")).await.unwrap();
    assert_eq!((done.looks, done.notes), (1, vec![]));
}

#[tokio::test]
async fn a_queue_that_is_full_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("looks");
    // The writer stands still in its note until the test lets it go: the first look is too large for the file.
    let (stopped, is_stopped) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let notes = Notes::default();
    let into = notes.clone();
    let note: Note = Box::new(move |text| {
        into.lock().unwrap().push(text.to_owned());
        // Ends at once when the test has let go.
        let _ = stopped.send(());
        let _ = may_go.recv();
    });
    let recorder = Arc::new(Recorder::open(&file, 10, note).unwrap());
    let set = FilterSet { observer: Some(recorder.clone()), ..set(b"refs/wip/") };
    let one = batch(&[b"refs/heads/a"], 20);
    chain::look(&set, &one).await;
    is_stopped.recv().unwrap();
    for _ in 0..1000 {
        chain::look(&set, &one).await;
    }
    assert_eq!(recorder.room.used().refs, 1001, "small looks are not counted by looks");
    let large = batch(&vec![b"refs/heads/a".as_slice(); 300_000], 20);
    let said = vec![chain::Said::Keep; large.len()];
    for _ in 0..100 {
        recorder.looked(&set, &large, &said);
    }
    assert_eq!(recorder.room.used().refs, 901_001, "of the large ones only three fit");
    assert_eq!(Arc::strong_count(&large), 4);
    drop(go);
    drop(set);
    recorder.finish();
    let notes = notes.lock().unwrap();
    assert!(notes[0].contains("does not fit"), "{notes:?}");
    assert!(notes[1].starts_with("1101 looks are not in"), "{notes:?}");
    assert_eq!(fs::metadata(&file).unwrap().len(), 0);
}
