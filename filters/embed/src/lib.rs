//! The filters that ship with refgate, as components, and the code that makes a component from a crate.

pub mod build;

/// A component that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// The plugin's name, as if it were the stem of a file.
    pub name: &'static str,
    /// The world that it implements: `push-filter`, `fetch-filter` or `project-matcher`.
    pub world: &'static str,
    /// The component.
    pub wasm: &'static [u8],
    /// What it says about itself: its `filter.toml`.
    pub about: &'static str,
    /// Without settings it lets everything pass, so there is no need to run it.
    pub inert_without_settings: bool,
}

/// The shipped filters.
pub const EMBEDDED: [Embedded; 3] = [
    Embedded {
        name: "push",
        world: "push-filter",
        wasm: include_bytes!(concat!(env!("OUT_DIR"), "/push.wasm")),
        about: include_str!("../../push/filter.toml"),
        inert_without_settings: false,
    },
    Embedded {
        name: "fetch",
        world: "fetch-filter",
        wasm: include_bytes!(concat!(env!("OUT_DIR"), "/fetch.wasm")),
        about: include_str!("../../fetch/filter.toml"),
        inert_without_settings: false,
    },
    Embedded {
        name: "project-matcher",
        world: "project-matcher",
        wasm: include_bytes!(concat!(env!("OUT_DIR"), "/project-matcher.wasm")),
        about: include_str!("../../project-matcher/filter.toml"),
        inert_without_settings: true,
    },
];
