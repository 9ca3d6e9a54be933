//! http: listing and fetching, from git's own server program behind a web server of a few lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use refgate_git::transport::{RemoteUrl, fetch_objects, list};

use crate::fetch::objects_come_and_refs_stay;
use crate::support::{Pair, name};

/// Serves the repositories below `base`.
fn serve(base: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let base = base.to_owned();
    std::thread::spawn(move || {
        listener.incoming().map_while(Result::ok).for_each(|stream| answer(stream, &base))
    });
    address
}

/// One request, handed to `git http-backend` as CGI does.
fn answer(stream: TcpStream, base: &PathBuf) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap_or("/").to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut backend = Command::new("git");
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", base).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    let mut length = 0;
    for header in reader.by_ref().lines().map_while(Result::ok).take_while(|header| !header.is_empty()) {
        let (key, value) = header.split_once(": ").unwrap();
        match key.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" => _ = backend.env("CONTENT_TYPE", value),
            "content-encoding" => _ = backend.env("HTTP_CONTENT_ENCODING", value),
            "git-protocol" => _ = backend.env("GIT_PROTOCOL", value),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    backend.env("CONTENT_LENGTH", length.to_string());
    let mut child = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&body).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let head = String::from_utf8_lossy(&output[..output.len().min(200)]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(writer, "HTTP/1.1 {status}\r\nConnection: close\r\n").unwrap();
    writer.write_all(&output).unwrap();
}

#[test]
fn objects_come_over_http() {
    let pair = Pair::new();
    let url = RemoteUrl::parse(&format!("{}/remote.git", serve(pair.dir.path()))).unwrap();
    objects_come_and_refs_stay(&pair, &url);
    pair.remote.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    let listed = list(&url, pair.format).unwrap();
    let names: Vec<_> = listed.into_iter().map(|r| (r.name, r.symbolic)).collect();
    let expected = [("heads/alias", true), ("heads/main", false), ("tags/v1", false), ("tags/v2", false)];
    assert_eq!(names, expected.map(|(n, symbolic)| (name(&format!("refs/{n}")), symbolic)));
}

#[test]
fn an_object_that_spoils_a_transfer_over_http_stops_no_other() {
    let pair = Pair::new();
    let url = RemoteUrl::parse(&format!("{}/remote.git", serve(pair.dir.path()))).unwrap();
    let base = pair.remote.commit(&[], "base");
    let lost = pair.remote.commit(&[base], "lost");
    let bad = pair.remote.commit(&[lost], "bad");
    let well: Vec<_> = (0..12).map(|n| pair.remote.commit(&[base], &n.to_string())).collect();
    pair.remote.lose(lost);
    pair.local.git(&["config", "fetch.unpackLimit", "1"]);
    let wanted = [&well[..], &[bad]].concat();
    let fetched = fetch_objects(&pair.local.0, &url, &wanted, &mut |_| {}).unwrap();
    assert_eq!(fetched.refused.iter().map(|(oid, _)| *oid).collect::<Vec<_>>(), [bad]);
    well.iter().for_each(|oid| assert!(pair.local.has(*oid)));
    assert_eq!(pair.local.objects(), 12 * 3 + 3, "nothing is here twice");
    assert_eq!(pair.local.refs(), "");
}
