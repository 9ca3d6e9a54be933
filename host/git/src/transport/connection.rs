//! A connection to `git receive-pack`, through a pipe, ssh or git's own protocol, and its end.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::failure::{failure, of_kind};
use super::url::Place;
use super::{RemoteUrl, pktline, ssh};
use crate::child::Guarded;
use crate::files::owner::Owner;
use crate::files::settings::Core;
use crate::limits::{Pulse, Silence, Wait, Watch, shown};
use crate::{GitError, GitErrorKind, Limits, Repository, command};

const SERVICE: &str = "git-receive-pack";
const DAEMON_PORT: u16 = 9418;
/// What the other side does first. A server that reads a large ref store from a cold disk says nothing for a while; a dead
/// one says nothing for ever.
const LISTING: &str = "listing its refs";
/// How long the last words of a process that is gone are waited for: a child of its own may keep the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What is kept of them, in bytes.
const TAIL: usize = 8 * 1024;

/// Both directions of a session. Dropping it ends the process behind it.
///
/// A remote that says nothing, and takes nothing, for longer than it may is cut off; then both directions end, and
/// [`silence`](Connection::silence) tells why.
pub(super) struct Connection {
    pub(super) reader: BufReader<Box<dyn Read + Send>>,
    /// `None` once nothing more is to be sent; dropping the writer tells the other side.
    pub(super) writer: Option<Box<dyn Write + Send>>,
    pub(super) pulse: Pulse,
    limits: Limits,
    behind: Behind,
}

/// What is behind the two directions. Dropped, it ends.
enum Behind {
    Process { process: Guarded, words: Receiver<Vec<u8>> },
    Socket { _watch: Watch },
}

impl Connection {
    /// Starts receive-pack on the repository at `url`.
    pub(super) fn open(url: &RemoteUrl) -> Result<Connection, GitError> {
        let limits = url.limits();
        match url.place() {
            Place::Path(path) => {
                let git_dir = repository_at(url, path)?;
                let mut git = command::clean("git");
                if let Some(owner) = Owner::to_serve(&git_dir) {
                    // git trusts a repository of whom it runs as. Whether root trusts it is asked first.
                    Repository::open(&git_dir)?;
                    owner.run(&mut git);
                }
                // Where the settings cannot be read, receive-pack says why.
                if let Ok(core) = Core::read(&git_dir) {
                    core.wait(&mut git);
                }
                git.arg("receive-pack").arg(git_dir);
                Connection::process(git, limits)
            }
            Place::Ssh { destination, port, path } => {
                Connection::process(ssh::session(url, (destination, *port), SERVICE, path)?, limits)
            }
            Place::Daemon { host, port, path } => {
                Connection::daemon(host, *port, path, limits).map_err(|e| failure_to_connect(url, &e))
            }
            Place::Http => Err(GitError::new(format!("pushing over http is not supported: `{url}`"))
                .kind(GitErrorKind::Unsupported)
                .hint("give the remote an ssh, git or path address; fetching over http works")),
        }
    }

    fn process(mut command: Command, limits: Limits) -> Result<Connection, GitError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut command, Wait::within(limits, LISTING))?;
        let child = &mut process.child;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(GitError::new("a pipe of a process that was just started is missing"));
        };
        let pulse = process.pulse().clone();
        let words = last_words(Seen(stderr, pulse.clone()));
        Ok(Connection::new(stdout, stdin, pulse, limits, Behind::Process { process, words }))
    }

    fn daemon(host: &str, port: Option<u16>, path: &str, limits: Limits) -> io::Result<Connection> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let mut connected = None;
        for address in (host, port.unwrap_or(DAEMON_PORT)).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, limits.connect) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(e) => last = e,
            }
        }
        let stream = connected.ok_or(last)?;
        let ended = stream.try_clone()?;
        let watch =
            Watch::start(Wait::within(limits, LISTING), move |_| drop(ended.shutdown(Shutdown::Both)));
        let mut writer = HalfOpen(stream.try_clone()?);
        let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let shown = port.map_or(shown.clone(), |port| format!("{shown}:{port}"));
        pktline::write(&mut writer, format!("{SERVICE} {path}\0host={shown}\0").as_bytes())?;
        let pulse = watch.pulse().clone();
        Ok(Connection::new(stream, writer, pulse, limits, Behind::Socket { _watch: watch }))
    }

    fn new(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        pulse: Pulse,
        limits: Limits,
        behind: Behind,
    ) -> Connection {
        let reader: Box<dyn Read + Send> = Box::new(Seen(reader, pulse.clone()));
        Connection {
            reader: BufReader::with_capacity(64 * 1024, reader),
            writer: Some(Box::new(Seen(writer, pulse.clone()))),
            pulse,
            limits,
            behind,
        }
    }

    /// The listing is read: until the caller has decided, nobody waits for the other side.
    pub(super) fn listed(&self) {
        self.pulse.rest(true);
    }

    /// From here on the other side has to do something.
    pub(super) fn expect(&self, phase: &'static str) {
        self.pulse.phase(phase, self.limits.silence);
    }

    /// Why the other side was cut off, if it was.
    pub(super) fn silence(&self) -> Option<Silence> {
        self.pulse.silence()
    }

    /// What the process behind a broken connection printed; ends it.
    pub(super) fn last_words(mut self) -> String {
        self.writer = None;
        let Behind::Process { words, .. } = &self.behind else {
            return String::new();
        };
        let raw = words.recv_timeout(LAST_WORDS).unwrap_or_default();
        String::from_utf8_lossy(&raw).into_owned()
    }

    /// Ends a session in which nothing was asked for.
    pub(super) fn close(mut self) {
        self.expect("ending the session");
        if let Some(writer) = &mut self.writer {
            // A remote that is gone has nothing to be told.
            let _ = pktline::write_flush(writer).and_then(|()| writer.flush());
        }
        self.finish();
    }

    /// Ends the session in order; the other side has nothing more to say.
    pub(super) fn finish(mut self) {
        self.expect("ending the session");
        self.writer = None;
        if let Behind::Process { process, .. } = &mut self.behind {
            // Everything that counts was said before; how the process ends changes nothing.
            let _ = process.wait();
        }
    }
}

/// What goes through is what the watch waits for.
struct Seen<T>(T, Pulse);

impl<T: Read> Read for Seen<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).inspect(|_| self.1.bytes())
    }
}

impl<T: Write> Write for Seen<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).inspect(|_| self.1.beat())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The sending half of a socket: dropped, it tells the other side that nothing more comes.
struct HalfOpen(TcpStream);

impl Write for HalfOpen {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        // Fails only when the connection is gone, which says the same.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

/// Drains `from` to its end, so that the process never blocks, and hands over the last bytes.
pub(super) fn last_words(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut tail, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            tail.extend_from_slice(&buffer[..n]);
            if tail.len() > 2 * TAIL {
                tail.drain(..tail.len() - TAIL);
            }
        }
        // Nobody listens after a session that went well.
        let _ = sender.send(tail);
    });
    receiver
}

/// The git directory that git would find for `path`: itself, its `.git`, or the same with `.git` appended.
pub(super) fn repository_at(url: &RemoteUrl, path: &Path) -> Result<PathBuf, GitError> {
    let doing = "open the remote repository";
    let appended = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut anything = false;
    for candidate in [path.join(".git"), path.to_owned(), appended(".git").join(".git"), appended(".git")] {
        match fs::metadata(&candidate) {
            Ok(_) if is_repository(&candidate) => return Ok(candidate),
            // An empty directory is a place for a new repository.
            Ok(found) => {
                anything |= !found.is_dir() || fs::read_dir(&candidate).is_ok_and(|mut d| d.next().is_some())
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                return Err(of_kind(url, GitErrorKind::Denied, doing, &e.to_string()));
            }
            Err(_) => {}
        }
    }
    Err(match anything {
        true => of_kind(url, GitErrorKind::NotARepository, doing, "something else is there"),
        false => of_kind(url, GitErrorKind::Missing, doing, "no such directory"),
    })
}

/// A git directory, or the file that names one.
fn is_repository(path: &Path) -> bool {
    let names_one = || fs::read(path).is_ok_and(|content| content.starts_with(b"gitdir: "));
    match path.is_dir() {
        true => fs::symlink_metadata(path.join("HEAD")).is_ok() && path.join("objects").is_dir(),
        false => {
            fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() < 64 * 1024) && names_one()
        }
    }
}

fn failure_to_connect(url: &RemoteUrl, error: &io::Error) -> GitError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            failure(url, "start a session", &error.to_string())
        }
        io::ErrorKind::TimedOut => {
            let limit = shown(url.limits().connect);
            let said =
                format!("it did not answer within {limit}; `connectTimeout` of the remote sets that time");
            of_kind(url, GitErrorKind::Unreachable, "start a session", &said)
        }
        _ => of_kind(url, GitErrorKind::Unreachable, "start a session", &error.to_string()),
    }
}
