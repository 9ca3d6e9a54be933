//! The generated side of the contract in `wit/`: what plugins may import. Their exports are three functions with plain
//! signatures, which `plugin.rs` looks up by name, so that one component can implement several worlds.
#![allow(missing_docs, unused_qualifications, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: r#"
        package refgate:host;
        world imports {
            import refgate:filter/batches@0.1.1;
            import refgate:filter/project-batches@0.1.1;
            import refgate:filter/log@0.1.1;
            import refgate:filter/clock@0.1.1;
        }
    "#,
    world: "refgate:host/imports",
    imports: { default: trappable },
});
