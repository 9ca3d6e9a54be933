//! What is refused, and what people are told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{Config, Item, Origin};
use super::{Dir, from_keys};

/// A file, and `line: part of the message` for each error in it.
const BAD: &[(&str, &[&str])] = &[
    ("[Project]\npattern = x", &["2: unknown section `project`; did you mean `projects`?"]),
    ("[site]\nnam = a", &["2: unknown key `site.nam`; did you mean `name`?"]),
    ("[site \"x\"]\nname = a", &["2: unknown key `site.x.name`; `name` belongs below `[site]`"]),
    ("[Ref-Database]\nURLL = noop:", &["2: unknown key `ref-database.URLL`; did you mean `url`?"]),
    (
        "[ref-database \"enforcementrules\"]\nIGNORED = a",
        &[
            "2: unknown key `ref-database.enforcementrules.IGNORED`; `IGNORED` belongs below `[ref-database \"enforcementRules\"]`",
        ],
    ),
    (
        "[ref-database \"enforcementRules\"]\nDESIRED = a:b",
        &["2: unknown policy `DESIRED`; Gerrit dropped DESIRED"],
    ),
    (
        "[ref-database \"enforcementRules\"]\nIGNORE = a:b",
        &["2: unknown policy `IGNORE`; write `REQUIRED` or `IGNORED`"],
    ),
    (
        "[ref-database \"enforcementRules\"]\nIGNORED = a:refs/heads/x\nREQUIRED = b\nREQUIRED = a:refs/heads/x",
        &["4: rule `a:refs/heads/x`"],
    ),
    ("[ref-database \"enforcementRules\"]\nIGNORED = a:b:c", &["2: rule `a:b:c`"]),
    ("[ref-database \"enforcementRules\"]\nIGNORED = a:refs/heads/a b", &["2: rule `a:refs/heads/a b`"]),
    (
        "[ref-database \"enforcementRules\"]\nIGNORED =",
        &["2: `ref-database.enforcementRules.IGNORED`: its value is empty"],
    ),
    ("[projects]\npattern =", &["2: `projects.pattern`: its value is empty"]),
    ("[projects]\npattern", &["2: `projects.pattern`: it has no value"]),
    ("[projects]\npattern = \"\" # none", &["2: `projects.pattern`: its value is empty"]),
    ("[ref-database]\nurl", &["2: `ref-database.url`: it has no value"]),
    (
        "[ref-database]\nenabled = maybe",
        &["2: `ref-database.enabled`: `maybe` is neither true nor false; write `true`"],
    ),
    ("[ref-database]\nenabled =", &["2: `ref-database.enabled`: its value is empty"]),
    ("[ref-database]\nuser = u", &["2: `ref-database.user` has no use alone; add `passwordFile`"]),
    ("[ref-database]\npasswordEnv = P", &["2: `ref-database.passwordEnv` has no use alone; add `user`"]),
    ("[ref-database]\nkeyFile = k.pem", &["2: `ref-database.keyFile` has no use alone; add `certFile`"]),
    ("[ref-database]\ntimeoutMs = 0", &["2: `ref-database.timeoutMs`: `0` leaves no time"]),
    (
        "[ref-database]\nlocalRefLockTimeout = 3 fortnights",
        &["2: `ref-database.localRefLockTimeout`: `3 fortnights` is not a time"],
    ),
    (
        "[replication \"push-filter\"]\nminWaitBeforeReloadLocalVersionMs = -1\nmaxRandomWaitBeforeReloadLocalVersionMs = 4g",
        &[
            "2: `replication.push-filter.minWaitBeforeReloadLocalVersionMs`: `-1` is negative",
            "3: `replication.push-filter.maxRandomWaitBeforeReloadLocalVersionMs`: `4g` is too large",
        ],
    ),
    (
        "[replication \"fetch-filter\"]\nminWaitBeforeReloadLocalVersionMs = 1 s",
        &[
            "2: `replication.fetch-filter.minWaitBeforeReloadLocalVersionMs`: `1 s` is not a number of milliseconds",
        ],
    ),
    (
        "[replication \"psuh-filter\"]\nminWaitBeforeReloadLocalVersionMs = 1",
        &[
            "2: unknown key `replication.psuh-filter.minWaitBeforeReloadLocalVersionMs`; `minWaitBeforeReloadLocalVersionMs` belongs below",
        ],
    ),
    (
        "[site]\nwrites = mirror",
        &["2: `site.writes`: `mirror` is not a kind of site; write `gated`, `none` or `ungated`"],
    ),
    ("[remote]\nurl = x", &["2: unknown key `remote.url`; `url` belongs below `[remote \"NAME\"]`"]),
    ("[remote \"\"]\nurl = x", &["2: unknown key"]),
    ("[remote \"b\"]\nmirror = true\n", &["2: remote `b` has no url"]),
    ("[remote \"b\"]\nurl = x\npush = main", &["3: `remote.b.push`: `main` is not a refspec"]),
    (
        "[remote \"b\"]\nurl = x\nfetch = :refs/heads/x",
        &["3: `remote.b.fetch`: `:refs/heads/x` is not a refspec"],
    ),
    ("[remote \"b\"]\nurl = ftp://h/${name}", &["2: `remote.b.url`: `ftp` URLs are not supported"]),
    ("[remote \"b\"]\nurl = ext::sh -c x", &["2: `remote.b.url`: remote helpers are not supported"]),
    (
        "[remote \"b\"]\nurl = --upload-pack=x",
        &["2: `remote.b.url`: `--upload-pack=x` would be read as an option"],
    ),
    ("[plugin]\nage = 1", &["2: unknown key `plugin.age`; write `[plugin \"NAME\"]`"]),
    ("[plugin \"a\"]\nage =", &["2: `plugin.a.age`: its value is empty"]),
    ("[plugins]\nname = x", &["2: unknown key `plugins.name`"]),
    ("[includeIf \"gitdir:/x\"]\npath = y", &["2: `includeIf` is not supported"]),
    ("[include]\npath = ~/x", &["2: `include.path` names no file"]),
    ("[include]\nfile = x", &["2: unknown key `include.file`; write `[include] path = FILE`"]),
    ("[include]\npath = none.config", &["2: cannot use `"]),
    ("[site]\nname = a\n\n[include]\npath = refgate.config", &["5: `"]),
    // Everything that is wrong, in the order of the file; a value that is overridden counts too.
    (
        "[site]\nwrites = x\nwrites = gated\ncolour = red\n[remote \"b\"]\npush = x\n[projects]\npattern =\n",
        &[
            "2: `site.writes`",
            "4: unknown key `site.colour`; the keys here are `name`, `basePath`, `writes`",
            "6: `remote.b.push`",
            "6: remote `b` has no url",
            "8: `projects.pattern`",
        ],
    ),
];

#[test]
fn every_problem_is_told_with_its_place() {
    for (text, wanted) in BAD {
        let dir = Dir::new();
        let errors = dir.load(text).unwrap_err();
        let told: Vec<String> = errors.to_string().lines().map(str::to_owned).collect();
        assert_eq!(told.len(), wanted.len(), "{text}\n{errors}");
        let file = dir.path().join("refgate.config");
        for (told, wanted) in told.iter().zip(*wanted) {
            let start = format!("{}:{wanted}", file.display());
            assert!(told.starts_with(&start), "{text}\n{told}\nshould begin with\n{start}");
        }
        assert_eq!(&fs::read_to_string(file).unwrap(), text, "never written");
    }
}

#[test]
fn errors_in_case_files_name_the_file_alone() {
    let errors =
        from_keys(&[("replication.push-filter.minWaitBeforeReloadLocalVersionMs", "-5")]).unwrap_err();
    assert!(errors.to_string().starts_with("cases.json: `replication.push-filter.min"), "{errors}");
    let origin = Origin::new("cases.json".as_ref(), 0);
    for key in ["", "projects", ".pattern", "projects."] {
        assert!(Item::from_dotted(key, "x", &origin).is_err(), "{key}");
    }
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let dir = Dir::new();
    let path = dir.write("refgate.config", "[site]\nname = a\n");
    for (mode, ok) in
        [(0o600, true), (0o644, true), (0o444, true), (0o664, false), (0o646, false), (0o666, false)]
    {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let loaded = Config::load(&path);
        assert_eq!(loaded.is_ok(), ok, "{mode:o}");
        if let Err(e) = loaded {
            let said = format!("others can write it (mode {mode:03o}); run `chmod go-w {}`", path.display());
            assert!(e.to_string().contains(&said), "{e}");
        }
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    // An included file counts as much.
    let main = dir.write("main", "[include]\npath = refgate.config\n");
    assert!(Config::load(&main).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let e = Config::load(&main).unwrap_err().to_string();
    assert!(e.starts_with(&format!("{}:2: cannot use", main.display())), "{e}");
}

/// Who may write a directory on the way can put a link to any other file of ours in the place of this one.
#[test]
fn a_way_that_others_can_change_is_refused_before_and_after_a_link() {
    let dir = Dir::new();
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let good = dir.write("good/refgate.config", "[site]\nname = a\n");
    let (above, root) = (good.parent().unwrap(), good.parent().unwrap().parent().unwrap());
    let linked = root.join("links");
    fs::create_dir(&linked).unwrap();
    mode(&linked, 0o755);
    let link = linked.join("refgate.config");
    std::os::unix::fs::symlink("../good/refgate.config", &link).unwrap();
    let main = dir.write("main", "[include]\npath = good/refgate.config\n");
    let linking = dir.write("linking", "[include]\npath = links/refgate.config\n");
    let all = [&good, &link, &main, &linking];
    for (open, refused) in [(above, &all[..]), (&linked, &[&link, &linking][..]), (root, &all[..])] {
        assert!(all.iter().all(|file| Config::load(file).is_ok()));
        for bits in [0o777, 0o775, 0o757] {
            mode(open, bits);
            for file in all {
                let loaded = Config::load(file).map_err(|e| e.to_string());
                assert_eq!(
                    loaded.is_err(),
                    refused.contains(&file),
                    "{bits:o} {}: {loaded:?}",
                    file.display()
                );
                if let Err(e) = loaded {
                    let said = format!(
                        "others can write the directory `{}` on the way to it (mode {bits:03o})",
                        open.display()
                    );
                    assert!(
                        e.contains(&said) && e.contains(&format!("chmod go-w {}", open.display())),
                        "{e}"
                    );
                }
            }
        }
        // Nobody removes what is another's.
        mode(open, 0o1777);
        assert!(all.iter().all(|file| Config::load(file).is_ok()));
        mode(open, 0o755);
    }
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_way_through_a_directory_or_link_of_another_user_is_refused() {
    let dir = Dir::new();
    let old = dir.write("old/refgate.config", "[ref-database]\nenabled = false\n");
    let ours = dir.write("site/refgate.config", "");
    let main = dir.write("main", "[include]\npath = site/refgate.config\n");
    let site = ours.parent().unwrap();
    // What its owner can do with it.
    std::os::unix::fs::chown(site, Some(65534), None).unwrap();
    fs::remove_file(&ours).unwrap();
    std::os::unix::fs::symlink(&old, &ours).unwrap();
    for file in [&ours, &main] {
        let e = Config::load(file).unwrap_err().to_string();
        assert!(e.contains("site` on the way to it belongs to user 65534"), "{e}");
    }
    std::os::unix::fs::chown(site, Some(0), None).unwrap();
    assert!(Config::load(&ours).is_ok());
    std::os::unix::fs::lchown(&ours, Some(65534), None).unwrap();
    let e = Config::load(&main).unwrap_err().to_string();
    assert!(e.contains("the link") && e.contains("belongs to user 65534"), "{e}");
}

#[test]
#[ignore = "needs root; tests/run runs it as root"]
fn as_root_a_file_of_another_user_is_refused() {
    let dir = Dir::new();
    let path = dir.write("refgate.config", "");
    std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
    let e = Config::load(&path).unwrap_err().to_string();
    assert!(e.contains("it belongs to user 65534"), "{e}");
}

#[test]
fn what_is_no_file_is_refused() {
    let dir = Dir::new();
    let told = |path: &Path| Config::load(path).unwrap_err().to_string();
    assert!(told(&dir.path().join("none")).contains("no such file; name another with --config"));
    assert!(told(dir.path()).contains("it is not a regular file"));
}

#[test]
fn includes_that_never_end_are_refused() {
    let dir = Dir::new();
    dir.write("a", "[include]\npath = b\n");
    dir.write("b", "[include]\npath = ./a\n");
    let e = Config::load(&dir.path().join("a")).unwrap_err().to_string();
    assert!(e.contains("includes itself"), "{e}");
    for n in 0..20 {
        dir.write(&format!("n{n}"), format!("[include]\npath = n{}\n", n + 1));
    }
    dir.write("n20", "");
    let e = Config::load(&dir.path().join("n0")).unwrap_err().to_string();
    assert!(e.contains("nested more than 10 deep"), "{e}");
    assert!(Config::load(&dir.path().join("n10")).is_ok(), "10 are fine");
}
