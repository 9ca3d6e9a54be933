//! Users and TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use refgate_core::RefDbErrorKind;
use refgate_refdb::OpenMode::Create;
use refgate_servers::{Etcd, EtcdSetup};

use crate::common::*;
use crate::support::*;

tests![
    a_user_and_a_password,
    a_wrong_password_is_tried_once,
    a_user_without_rights,
    a_user_where_there_are_none,
    tls,
    client_certificates,
    a_certificate_of_a_stranger,
    plain_and_tls_mixed_up,
    files_that_cannot_be_used,
];

/// A file with a password that only its owner may read.
fn password(server: &Etcd, file: &str, text: &str) -> String {
    let path = server.file(file);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// With the users `root` and `site`, which has rights below `refs/`, and `guest`, which has none.
fn with_users() -> Etcd {
    let server = Etcd::start();
    for args in [
        &["user", "add", "root:secret-root"][..],
        &["user", "add", "site:secret-site"],
        &["user", "add", "guest:secret-guest"],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "refs"],
        &["role", "grant-permission", "--prefix=true", "refs", "readwrite", "refs/"],
        &["user", "grant-role", "site", "refs"],
        &["auth", "enable"],
    ] {
        server.control(args);
    }
    server
}

fn as_user(server: &Etcd, user: &str, file: &str) -> String {
    url(server, &format!("refs?user={user}&passwordFile={file}"))
}

fn a_user_and_a_password() {
    let mut server = with_users();
    let file = password(&server, "pw", "secret-site\n");
    let db = Store(open_url(&as_user(&server, "site", &file), Create).unwrap().db);
    db.put("p", "refs/a", at(1));
    assert_eq!(db.value("p", "refs/a"), at(1));
    release(lock(&db, "refs/a", 5, 5_000).unwrap());
    let many: Vec<String> = (0..300).map(|i| format!("refs/{i}")).collect();
    assert_eq!(db.get("p", &many.iter().map(String::as_str).collect::<Vec<_>>()).len(), 300);
    // The server forgets who logged in; the client logs in again.
    server.kill();
    server.restart();
    assert_eq!(db.value("p", "refs/a"), at(1));
    db.put("p", "refs/a", at(2));
    assert_eq!(db.remove_project("p"), 1);
}

fn a_wrong_password_is_tried_once() {
    let server = with_users();
    let file = password(&server, "pw", "secret-wrong\n");
    let before = server.answered("Authenticate");
    let e = open_url(&as_user(&server, "site", &file), Create);
    let e = fails(e, RefDbErrorKind::Auth, "the user or the password is wrong");
    assert!(!e.message.contains("user=") && e.message.contains(&url(&server, "refs`")), "{e}");
    assert_eq!(server.answered("Authenticate") - before, 1, "no retry storm");
    fails(open_url(&as_user(&server, "nobody", &file), Create), RefDbErrorKind::Auth, "wrong");
    fails(open_url(&url(&server, "refs"), Create), RefDbErrorKind::Auth, "set `user`");
}

fn a_user_without_rights() {
    let server = with_users();
    let file = password(&server, "pw", "secret-guest\n");
    let e =
        fails(open_url(&as_user(&server, "guest", &file), Create), RefDbErrorKind::Auth, "may not do this");
    assert!(e.message.contains("grant it read and write below the prefix"), "{e}");
    let file = password(&server, "pw2", "secret-site\n");
    let elsewhere = url(&server, &format!("other?user=site&passwordFile={file}"));
    fails(open_url(&elsewhere, Create), RefDbErrorKind::Auth, "may not do this");
}

fn a_user_where_there_are_none() {
    let server = Etcd::start();
    let file = password(&server, "pw", "secret\n");
    fails(open_url(&as_user(&server, "site", &file), Create), RefDbErrorKind::Auth, "knows no users");
    assert!(keys(&server, "").is_empty());
}

fn with_tls(client_certificates: bool) -> Etcd {
    Etcd::start_with(EtcdSetup { tls: true, client_certificates, ..EtcdSetup::default() })
}

fn options(server: &Etcd, files: &[(&str, &str)]) -> String {
    let options: Vec<String> =
        files.iter().map(|(option, file)| format!("{option}={}", server.file(file).display())).collect();
    url(server, &format!("refs?{}", options.join("&")))
}

fn tls() {
    let server = with_tls(false);
    let db = Store(open_url(&options(&server, &[("caFile", "ca.pem")]), Create).unwrap().db);
    db.put("p", "refs/a", at(1));
    assert_eq!(db.value("p", "refs/a"), at(1));
    release(lock(&db, "refs/a", 5, 5_000).unwrap());
}

fn client_certificates() {
    let server = with_tls(true);
    let files = [("caFile", "ca.pem"), ("certFile", "client.pem"), ("keyFile", "client.key")];
    let db = Store(open_url(&options(&server, &files), Create).unwrap().db);
    db.put("p", "refs/a", at(1));
    assert_eq!(db.value("p", "refs/a"), at(1));
    let e = answers_within(10_000, || open_url(&options(&server, &files[..1]), Create)).unwrap_err();
    // The server says why and hangs up at once; sometimes the latter is noticed first.
    assert!(matches!(e.kind, RefDbErrorKind::Auth | RefDbErrorKind::Unavailable), "{e}");
    assert!(e.message.contains("`certFile` and `keyFile`"), "{e}");
}

fn a_certificate_of_a_stranger() {
    let server = with_tls(false);
    let e = open_url(&options(&server, &[("caFile", "stranger.pem")]), Create);
    let e = fails(e, RefDbErrorKind::Auth, "name the right `caFile`");
    assert!(e.message.contains("UnknownIssuer"), "{e}");
    // The system does not know the authority of the test either; some systems know none at all.
    let e = open_url(&url(&server, "refs?tls=true"), Create).unwrap_err();
    assert!(matches!(e.kind, RefDbErrorKind::Auth | RefDbErrorKind::Config), "{e}");
    // The certificate is for other names.
    let port = server.address().rsplit_once(':').unwrap().1.to_owned();
    let elsewhere = format!("etcd://127.0.0.2:{port}/refs?caFile={}", server.file("ca.pem").display());
    let e = answers_within(10_000, || open_url(&elsewhere, Create)).unwrap_err();
    assert!(matches!(e.kind, RefDbErrorKind::Auth | RefDbErrorKind::Unavailable), "{e}");
    assert!(keys(&server, "").is_empty());
}

fn plain_and_tls_mixed_up() {
    let server = with_tls(false);
    let e = answers_within(10_000, || open_url(&url(&server, "refs"), Create));
    fails(e, RefDbErrorKind::Unavailable, "whether the server wants TLS");
    let plain = Etcd::start();
    let ca = server.file("ca.pem");
    let with_ca = url(&plain, &format!("refs?caFile={}", ca.display()));
    let e = answers_within(10_000, || open_url(&with_ca, Create));
    fails(e, RefDbErrorKind::Config, "speaks no TLS");
    assert!(keys(&plain, "").is_empty());
}

fn files_that_cannot_be_used() {
    let server = with_tls(false);
    fs::write(server.file("text"), "no certificate").unwrap();
    fails(
        open_url(&options(&server, &[("caFile", "absent")]), Create),
        RefDbErrorKind::Config,
        "cannot read",
    );
    let text = [("caFile", "ca.pem"), ("certFile", "text"), ("keyFile", "text")];
    fails(open_url(&options(&server, &text), Create), RefDbErrorKind::Config, "options of the connection");
    let e = open_url(&options(&server, &[("caFile", "text")]), Create).unwrap_err();
    assert!(matches!(e.kind, RefDbErrorKind::Config | RefDbErrorKind::Auth), "{e}");
    let open_to_all = password(&server, "pw", "secret\n");
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o644)).unwrap();
    let e = open_url(&as_user(&server, "site", &open_to_all), Create).unwrap_err();
    assert!(e.kind == RefDbErrorKind::Config && e.message.contains("chmod 600"), "{e}");
}
