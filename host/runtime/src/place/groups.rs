//! Whether a group has nobody in it but us and root, as the group that Kubernetes gives a volume (`fsGroup`) or the own
//! group of a service.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;

use rustix::process::{getegid, geteuid, getgroups};

/// Whether this process is in the group, and no other account of this machine is. Not so for root's own group, nor where
/// accounts come from elsewhere than the files of this machine: then nobody knows who is in it.
pub(super) fn is_ours_alone(group: u32) -> bool {
    let ours = getegid().as_raw() == group
        || getgroups().is_ok_and(|groups| groups.iter().any(|one| one.as_raw() == group));
    let read = |path: &str| match fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Some(String::new()),
        text => text.ok(),
    };
    let (Some(accounts), Some(groups), Some(sources)) =
        (read("/etc/passwd"), read("/etc/group"), read("/etc/nsswitch.conf"))
    else {
        return false;
    };
    group != 0 && ours && is_local(&sources) && !has_others(&accounts, &groups, group, geteuid().as_raw())
}

/// Whether accounts and groups come from files alone, see nsswitch.conf(5).
fn is_local(sources: &str) -> bool {
    let named = sources.lines().filter_map(|line| line.split('#').next()?.split_once(':'));
    let about = named.filter(|(what, _)| ["passwd", "group", "initgroups"].contains(&what.trim()));
    about.flat_map(|(_, from)| from.split_whitespace()).all(|source| {
        // In brackets stands what follows on an answer. The units of systemd have groups of their own.
        source.starts_with('[') || source.ends_with(']') || ["files", "systemd", "altfiles"].contains(&source)
    })
}

/// Whether an account other than `us` and root is in `group`, by passwd(5) and group(5).
fn has_others(accounts: &str, groups: &str, group: u32, us: u32) -> bool {
    let mut known = BTreeSet::from(["root"]);
    let mut primary = false;
    for line in accounts.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, user, of, ..] = fields[..] else { continue };
        match user.parse::<u32>() {
            Ok(user) if user == us || user == 0 => drop(known.insert(name)),
            _ => primary |= of.parse() == Ok(group),
        }
    }
    let mut members = groups.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, id, members, ..] = fields[..] else { return None };
        (id.parse() == Ok(group)).then_some(members)
    });
    primary
        || members.any(|of| of.split(',').any(|one| !one.trim().is_empty() && !known.contains(one.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_in_a_group_is_found() {
        let accounts = "root:x:0:0::/root:/bin/sh\ngit:x:998:998::/:/bin/sh\nbob:x:1000:100::/:/bin/sh\n";
        let groups = "git:x:998:\nusers:x:100:\nteam:x:2001:git,bob\nown:x:2002:git,root\n";
        let others = |group| has_others(accounts, groups, group, 998);
        assert!(!others(998) && !others(2002), "us and root");
        assert!(others(100) && others(2001), "the first group of somebody, and a member");
        assert!(!others(54321), "a number that no account has");
        assert!(!has_others("", "", 2000, 65534), "an image without accounts");
    }

    #[test]
    fn accounts_from_a_directory_service_are_not_known() {
        assert!(is_local("") && is_local("passwd: files systemd\ngroup: files [SUCCESS=merge] systemd\n"));
        assert!(is_local("hosts: dns\n# group: ldap\n"));
        for source in ["passwd: files sss", "group:ldap", "initgroups: files winbind"] {
            assert!(!is_local(source), "{source}");
        }
    }
}
