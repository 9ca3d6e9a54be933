//! Whether a plugin made for one world loads with another: it may want less, and has to give as much.

use std::collections::BTreeMap;

use refgate_host::Error;
use wit_parser::{InterfaceId, PackageName, Resolve, Stability, WorldId, WorldItem, WorldKey};

use super::sides::Side;
use super::types::signature;

/// What came out for one world.
pub struct World {
    pub name: String,
    /// What stops a plugin from loading; nothing when it loads.
    pub breaks: Vec<String>,
}

/// Compares every world of `old` with the one of `new` for the same plugins.
pub fn compare(mut old: Side, mut new: Side) -> Result<Vec<World>, Error> {
    let versions = Versions { old: versions(&old.resolve), new: versions(&new.resolve) };
    // Both sides get into one table only when no name is in both.
    apart(&mut old.resolve, "old");
    apart(&mut new.resolve, "new");
    let mut resolve = old.resolve;
    let cannot = |e: &dyn std::fmt::Display| Error::failed(format!("the two sides cannot be compared: {e}"));
    let moved = resolve.merge(new.resolve).map_err(|e| cannot(&format!("{e:#}")))?;
    let mut news = Vec::new();
    for (name, id) in new.worlds {
        let id = moved.worlds.get(id.index()).copied().flatten();
        news.push((name, id.ok_or_else(|| cannot(&"a world was lost"))?));
    }
    let mut worlds = Vec::new();
    for (name, prev) in &old.worlds {
        let partners = partners(&resolve, name.as_deref(), *prev, &news);
        if partners.is_empty() {
            let name = name.clone().unwrap_or_else(|| "component".to_owned());
            worlds.push(World { name, breaks: vec!["the new side has no such world".to_owned()] });
        }
        for (partner, id) in partners {
            let name = name.clone().or(partner).unwrap_or_else(|| "component".to_owned());
            worlds.push(World { name, breaks: breaks(&resolve, *prev, id, &versions) });
        }
    }
    Ok(worlds)
}

/// The worlds that a plugin of `prev` is for: the one of the same name; for a component those that it exports all of, or
/// at least a part of.
fn partners(
    resolve: &Resolve,
    name: Option<&str>,
    prev: WorldId,
    news: &[(Option<String>, WorldId)],
) -> Vec<(Option<String>, WorldId)> {
    if let (Some(name), true) = (name, news.iter().all(|(n, _)| n.is_some())) {
        return news.iter().filter(|(n, _)| n.as_deref() == Some(name)).cloned().collect();
    }
    let gives = exports(resolve, prev);
    let shared = |id: WorldId| exports(resolve, id).keys().filter(|k| gives.contains_key(*k)).count();
    let whole = |id: WorldId| shared(id) == exports(resolve, id).len().min(gives.len());
    let all: Vec<_> = news.iter().filter(|(_, id)| shared(*id) > 0 && whole(*id)).cloned().collect();
    match all.is_empty() {
        false => all,
        true => news.iter().filter(|(_, id)| shared(*id) > 0).cloned().collect(),
    }
}

struct Versions {
    old: BTreeMap<String, (u64, u64)>,
    new: BTreeMap<String, (u64, u64)>,
}

/// The versions of the packages, as far as they have to agree: 1 of 1.4.2, and 0.4 of 0.4.2.
fn versions(resolve: &Resolve) -> BTreeMap<String, (u64, u64)> {
    let packages = resolve.packages.iter();
    let of = packages.filter_map(|(_, p)| {
        let version = p.name.version.as_ref()?;
        let minor = if version.major == 0 { version.minor } else { 0 };
        Some((format!("{}:{}", p.name.namespace, p.name.name), (version.major, minor)))
    });
    of.collect()
}

/// Gives every package a version that only its side has. `semver_check` leaves versions out.
fn apart(resolve: &mut Resolve, side: &str) {
    let renamed = |name: &PackageName| PackageName { name: format!("{}-{side}", name.name), ..name.clone() };
    for (_, package) in resolve.packages.iter_mut() {
        package.name = renamed(&package.name);
    }
    resolve.package_names = resolve.package_names.iter().map(|(name, id)| (renamed(name), *id)).collect();
}

/// Takes the sides' names off again.
fn together(resolve: &mut Resolve) {
    for (_, package) in resolve.packages.iter_mut() {
        let name = package.name.name.trim_end_matches("-old").trim_end_matches("-new").to_owned();
        package.name.name = name;
        package.name.version = None;
    }
}

fn breaks(resolve: &Resolve, prev: WorldId, new: WorldId, versions: &Versions) -> Vec<String> {
    let mut resolve = resolve.clone();
    together(&mut resolve);
    offer_all(&mut resolve, prev, new);
    let mut found = listed(&resolve, prev, new, versions);
    // The worlds of components are in a package of their own.
    let packages = [prev, new].map(|world| resolve.worlds[world].package);
    if let [Some(prev), Some(new)] = packages {
        let name = resolve.packages[new].name.clone();
        resolve.packages[prev].name = name;
    }
    // The list says it in words; whether there is anything to say is for the type checker of components.
    if let Err(e) = wit_component::semver_check(resolve, prev, new)
        && found.is_empty()
    {
        found.push(format!("{e:#}"));
    }
    found
}

/// A host offers every interface of its package to every plugin, whatever its worlds list.
fn offer_all(resolve: &mut Resolve, prev: WorldId, new: WorldId) {
    let offered: Vec<(String, InterfaceId)> = imports(resolve, new).into_iter().collect();
    let packages: Vec<_> = offered.iter().filter_map(|(_, id)| resolve.interfaces[*id].package).collect();
    let wanted = imports(resolve, prev);
    let all = resolve.interfaces.iter().filter(|(_, i)| i.package.is_some_and(|p| packages.contains(&p)));
    let all: Vec<InterfaceId> = all.map(|(id, _)| id).collect();
    for id in all {
        let Some(name) = resolve.id_of(id) else { continue };
        if wanted.contains_key(&name) && !offered.iter().any(|(n, _)| *n == name) {
            let item = WorldItem::Interface {
                id,
                stability: Stability::Unknown,
                external_id: None,
                docs: Default::default(),
                span: Default::default(),
            };
            resolve.worlds[new].imports.insert(WorldKey::Interface(id), item);
        }
    }
}

fn listed(resolve: &Resolve, prev: WorldId, new: WorldId, versions: &Versions) -> Vec<String> {
    let mut found = Vec::new();
    let (wants, offers) = (imports(resolve, prev), imports(resolve, new));
    for (name, id) in &wants {
        match offers.get(name) {
            None => found.push(format!("plugins import `{name}`, which the new side does not offer")),
            Some(offer) => functions(resolve, name, *id, *offer, Needs::Host, &mut found),
        }
    }
    let (gives, needs) = (exports(resolve, prev), exports(resolve, new));
    for (name, id) in &needs {
        match gives.get(name) {
            None => found.push(format!("the new side wants the export `{name}`, which plugins do not have")),
            Some(given) => functions(resolve, name, *given, *id, Needs::Plugin, &mut found),
        }
    }
    for name in wants.keys().filter(|n| offers.contains_key(*n)).chain(needs.keys()) {
        let package = name.split('/').next().unwrap_or_default();
        if let (Some(old), Some(new)) = (versions.old.get(package), versions.new.get(package))
            && old != new
        {
            let text = |v: &(u64, u64)| if v.0 == 0 { format!("0.{}", v.1) } else { v.0.to_string() };
            let (old, new) = (text(old), text(new));
            let why =
                format!("`{package}` was of version {old}.x and is of {new}.x: plugins ask for the old one");
            if !found.contains(&why) {
                found.push(why);
            }
        }
    }
    found
}

/// Which side has to have a function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Plugins call it.
    Host,
    /// The host calls it.
    Plugin,
}

/// The functions of one interface that are missing or otherwise at the side that has to have them.
fn functions(
    resolve: &Resolve,
    name: &str,
    old: InterfaceId,
    new: InterfaceId,
    needs: Needs,
    found: &mut Vec<String>,
) {
    let (user, maker) = match needs {
        Needs::Host => (old, new),
        Needs::Plugin => (new, old),
    };
    let made = &resolve.interfaces[maker].functions;
    for (function, used) in &resolve.interfaces[user].functions {
        let shown = function.split(']').next_back().unwrap_or_default();
        let Some(made) = made.get(function) else {
            found.push(match needs {
                Needs::Host => {
                    format!("`{name}`: plugins may call `{shown}`, which the new side does not offer")
                }
                Needs::Plugin => format!("`{name}`: the new side calls `{shown}`, which plugins do not have"),
            });
            continue;
        };
        let (was, is) = match needs {
            Needs::Host => (signature(resolve, used), signature(resolve, made)),
            Needs::Plugin => (signature(resolve, made), signature(resolve, used)),
        };
        if was != is {
            found.push(format!("`{name}`: `{shown}` was `{was}` and is `{is}`"));
        }
    }
}

fn imports(resolve: &Resolve, world: WorldId) -> BTreeMap<String, InterfaceId> {
    interfaces(resolve, resolve.worlds[world].imports.values())
}

fn exports(resolve: &Resolve, world: WorldId) -> BTreeMap<String, InterfaceId> {
    interfaces(resolve, resolve.worlds[world].exports.values())
}

/// By full name, without versions and sides.
fn interfaces<'i>(
    resolve: &Resolve,
    items: impl Iterator<Item = &'i WorldItem>,
) -> BTreeMap<String, InterfaceId> {
    let named = items.filter_map(|item| match item {
        WorldItem::Interface { id, .. } => {
            let full = resolve.id_of(*id)?;
            let (package, interface) = full.split_once('/')?;
            let interface = interface.split('@').next().unwrap_or_default();
            let package = package.trim_end_matches("-old").trim_end_matches("-new");
            Some((format!("{package}/{interface}"), *id))
        }
        _ => None,
    });
    named.collect()
}
