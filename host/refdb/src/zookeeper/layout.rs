//! Where things are in the tree of ZooKeeper: Gerrit's layout, and a tree of our own beside it.
//!
//! | node | what it is |
//! |---|---|
//! | `ROOT/PROJECT/REF` | the value of a ref, as Gerrit's plugin has it |
//! | `ROOT/locks/PROJECT/REF/_c_UUID-lock-N` | one who holds or waits for a lock, as Curator has it |
//! | `ROOT-refgate/superseded/PROJECT/REF/:` | the superseded values of a ref; no ref or project has a part `:` |
//! | `ROOT-refgate/sites/NAME` | a site that used this store |
//! | `ROOT-refgate/identity` | what tells this store from every other one, and after a line feed why nobody may write; every write checks its version |
//! | `ROOT-refgate/revision` | changed by every write, so that its last change is the store's |
//! | `ROOT-refgate/removals` | changes with every removal of a value, because a node that is made anew counts from 0 |
//! | `ROOT-refgate/sessions/UUID` | a client that writes; every write checks that it is there |
//!
//! `PROJECT` is form-URL encoded with its slashes kept, `REF` is as it is.

use refgate_core::{Project, RefName, escape};

/// Longest path that is used, in bytes: far above what git can make of a file name, far below what a packet holds.
const MAX_PATH: usize = 8192;
/// The one node below a ref's directory in our own tree.
const LIST: &str = ":";

/// The two trees.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Gerrit's, `/gerrit/multi-site` for example.
    pub root: String,
    /// Ours.
    pub own: String,
}

/// Where the refs of one project are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The directory of the values.
    pub values: String,
    /// The directory of the superseded lists.
    pub lists: String,
    locks: String,
}

impl Layout {
    /// `root` without a slash at either end; the error says what is wrong with it.
    pub(super) fn new(root: &str) -> Result<Layout, &'static str> {
        match refusal(root) {
            Some(why) => Err(why),
            None => Ok(Layout { root: format!("/{root}"), own: format!("/{root}-refgate") }),
        }
    }

    pub(super) fn sessions(&self) -> String {
        format!("{}/sessions", self.own)
    }

    pub(super) fn sites(&self) -> String {
        format!("{}/sites", self.own)
    }

    pub(super) fn removals(&self) -> String {
        format!("{}/removals", self.own)
    }

    pub(super) fn identity(&self) -> String {
        format!("{}/identity", self.own)
    }

    pub(super) fn revision(&self) -> String {
        format!("{}/revision", self.own)
    }

    pub(super) fn superseded(&self) -> String {
        format!("{}/superseded", self.own)
    }

    /// The node of a site.
    pub(super) fn site(&self, name: &str) -> String {
        format!("{}/{}", self.sites(), encode(name, "-_"))
    }

    /// Where the refs of `project` are, or why this layout cannot hold it.
    pub(super) fn project(&self, project: &Project) -> Result<Place, String> {
        let name = project.as_str();
        let mut parts = name.split('/');
        if parts.next() == Some("locks") {
            return Err(format!("project `{project}`: in ZooKeeper this is where Gerrit keeps its locks"));
        }
        // `a/refs` with the ref `HEAD` would be the same node as `a` with the ref `refs/HEAD`.
        if parts.any(|part| part == "refs" || is_pseudo_ref(part)) {
            return Err(format!(
                "project `{project}`: in ZooKeeper a part of its name would be read as a ref"
            ));
        }
        let encoded = encode(name, "-_.!~*'()/");
        if encoded.len() > MAX_PATH / 2 {
            return Err(format!("project `{project}`: the name is too long for ZooKeeper"));
        }
        Ok(Place {
            values: format!("{}/{encoded}", self.root),
            lists: format!("{}/superseded/{encoded}", self.own),
            locks: format!("{}/locks/{encoded}", self.root),
        })
    }
}

impl Place {
    /// The nodes of the value and of the superseded list, or why there cannot be any.
    pub(super) fn nodes(&self, name: &RefName) -> Result<(String, String), String> {
        let name = ref_path(name)?;
        Ok((format!("{}/{name}", self.values), format!("{}/{name}/{LIST}", self.lists)))
    }

    /// The directory of the lock of a ref.
    pub(super) fn lock(&self, name: &RefName) -> Result<String, String> {
        Ok(format!("{}/{}", self.locks, ref_path(name)?))
    }

    /// The directory in which all names are that begin with `prefix`; `None` when there can be no such names.
    pub(super) fn directory(&self, prefix: &[u8]) -> Option<String> {
        let prefix = std::str::from_utf8(prefix).ok()?;
        match prefix.rsplit_once('/') {
            None => "refs".starts_with(prefix).then(|| format!("{}/refs", self.values)),
            Some((dir, _)) if dir != "refs" && !dir.starts_with("refs/") => None,
            Some((dir, _)) => refusal(dir).is_none().then(|| format!("{}/{dir}", self.values)),
        }
    }

    /// The ref whose value is at `path`; `None` for what no ref can be called.
    pub(super) fn name_of(&self, path: &str) -> Option<RefName> {
        let name = path.strip_prefix(&self.values)?.strip_prefix('/')?;
        RefName::new(name).ok().filter(|name| ref_path(name).is_ok())
    }
}

/// The name that [`encode`] made a node of.
pub(super) fn decode(node: &str) -> Option<String> {
    let node = node.replace('+', " ");
    String::from_utf8(refgate_core::unescape(&node)).ok()
}

/// The directories above `path` that are below `above`, nearest to `above` first.
pub(super) fn directories<'a>(above: &str, path: &'a str) -> Vec<&'a str> {
    let from = above.len() + 1;
    path.match_indices('/').map(|(at, _)| at).filter(|at| *at > from).map(|at| &path[..at]).collect()
}

/// Whether git would put `name` directly below the repository: `HEAD`, `FETCH_HEAD` and so on.
pub(super) fn is_pseudo_ref(name: &str) -> bool {
    name.ends_with("HEAD") && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

fn ref_path(name: &RefName) -> Result<&str, String> {
    let wrong = |why: &str| Err(format!("`{name}`: ZooKeeper cannot hold this name: {why}"));
    let Ok(text) = std::str::from_utf8(name.as_bytes()) else {
        return wrong("it is not UTF-8");
    };
    if !text.starts_with("refs/") && !is_pseudo_ref(text) {
        return wrong("outside `refs/` only names like `HEAD` are possible");
    }
    match refusal(text) {
        Some(why) => wrong(why),
        None => Ok(text),
    }
}

/// Why ZooKeeper or Curator refuses a path; what only one of them refuses counts too, for both have to read it.
///
/// Their rule is about units of UTF-16 and takes in all surrogates, so there is nothing above U+FFFF.
fn refusal(path: &str) -> Option<&'static str> {
    if path.len() > MAX_PATH {
        return Some("it is too long");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Some("a component is empty, `.` or `..`");
    }
    let refused = |c: char| matches!(u32::from(c), 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..);
    path.chars()
        .any(refused)
        .then_some("it holds a control, private or surrogate character, such as an emoji")
}

/// Form-URL encoding as Gerrit has it: letters, digits and `kept` stay, a space is `+`, the rest is `%XX`.
fn encode(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b' ' => out.push('+'),
            b if b.is_ascii_alphanumeric() || kept.as_bytes().contains(&b) => out.push(b.into()),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// A path for people.
pub(super) fn shown(path: &str) -> String {
    escape(path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new("gerrit/multi-site").unwrap()
    }

    fn place(project: &str) -> Result<Place, String> {
        layout().project(&Project::new(project).unwrap())
    }

    fn name(name: &str) -> RefName {
        RefName::new(name).unwrap()
    }

    #[test]
    fn nodes_are_where_gerrit_puts_them() {
        let place = place("platform/build").unwrap();
        let (value, list) = place.nodes(&name("refs/heads/main")).unwrap();
        assert_eq!(value, "/gerrit/multi-site/platform/build/refs/heads/main");
        assert_eq!(list, "/gerrit/multi-site-refgate/superseded/platform/build/refs/heads/main/:");
        assert_eq!(
            place.lock(&name("refs/heads/main")).unwrap(),
            "/gerrit/multi-site/locks/platform/build/refs/heads/main"
        );
        assert_eq!(place.name_of(&value), Some(name("refs/heads/main")));
        assert_eq!(place.name_of("/gerrit/multi-site/platform/build/sub/refs/x"), None);
        assert_eq!(place.name_of("/gerrit/multi-site/platform/build/refs/a.lock"), None);
    }

    #[test]
    fn projects_are_form_url_encoded() {
        for (project, encoded) in [
            ("a b", "a+b"),
            ("a+b", "a%2Bb"),
            ("a:b@c%d", "a%3Ab%40c%25d"),
            ("x-_.!~*'()", "x-_.!~*'()"),
            ("日本/é", "%E6%97%A5%E6%9C%AC/%C3%A9"),
            ("a\\b", "a%5Cb"),
        ] {
            assert_eq!(place(project).unwrap().values, format!("/gerrit/multi-site/{encoded}"), "{project}");
        }
    }

    #[test]
    fn what_would_collide_or_be_refused_is_told_apart() {
        for bad in ["locks", "locks/a", "a/refs", "a/refs/heads", "a/HEAD", "a/FETCH_HEAD/b"] {
            assert!(place(bad).is_err(), "{bad}");
        }
        for good in ["a/locks", "lockss", "refs", "HEAD", "a/head", "a/Refs"] {
            assert!(place(good).is_ok(), "{good}");
        }
        let place = place("p").unwrap();
        for bad in ["refs/heads/\u{1f600}", "refs/heads/\u{e000}", "refs/heads/\u{f8ff}", "refs/\u{85}"] {
            assert!(place.nodes(&name(bad)).is_err(), "{bad:?}");
        }
        for bad in ["refs/\u{fff0}", "refs/\u{ffff}", "refs/\u{80}", "main", "refs"] {
            assert!(place.nodes(&name(bad)).is_err(), "{bad:?}");
        }
        assert!(place.nodes(&RefName::new(b"refs/\xff").unwrap()).is_err());
        assert!(place.nodes(&name(&format!("refs/{}", "x".repeat(MAX_PATH)))).is_err());
        for good in ["refs/heads/é", "refs/heads/日本", "HEAD", "ORIG_HEAD", "refs/\u{f900}", "refs/100%"]
        {
            assert!(place.nodes(&name(good)).is_ok(), "{good:?}");
        }
        assert!(Layout::new("a/\u{7}").is_err());
    }

    #[test]
    fn directories_begin_below_the_root() {
        assert_eq!(directories("/r", "/r/p/refs/x"), ["/r/p", "/r/p/refs"]);
        assert_eq!(directories("/r", "/r/p"), [""; 0]);
    }

    #[test]
    fn a_prefix_has_a_directory() {
        let place = place("p").unwrap();
        for (prefix, dir) in [
            ("", Some("refs")),
            ("ref", Some("refs")),
            ("refs/", Some("refs")),
            ("refs/heads", Some("refs")),
            ("refs/heads/ma", Some("refs/heads")),
            ("refs//x", None),
            ("HEAD", None),
            ("x/refs/", None),
        ] {
            let dir = dir.map(|dir| format!("/gerrit/multi-site/p/{dir}"));
            assert_eq!(place.directory(prefix.as_bytes()), dir, "{prefix}");
        }
        assert_eq!(place.directory(b"refs/\xff/"), None);
    }

    #[test]
    fn sites_have_names_of_any_kind() {
        for site in ["site-a", "..", "a/b", "ü +%", "a_b"] {
            let node = layout().site(site);
            let node = node.strip_prefix("/gerrit/multi-site-refgate/sites/").unwrap();
            assert!(!node.contains('/') && !node.contains('.'), "{node}");
            assert_eq!(decode(node).as_deref(), Some(site));
        }
    }
}
