//! The generated side of the contract in `wit/`: the only place where bindings are made.
#![allow(missing_docs, unused_qualifications, unsafe_op_in_unsafe_fn, clippy::all, reason = "generated")]

/// What the host offers. The exports below share these types, so that one [`Batch`](crate::Batch) serves them all.
pub mod imports {
    wit_bindgen::generate!({
        path: "../wit",
        inline: r#"
            package refgate:sdk;
            world imports {
                import refgate:filter/batches@0.1.1;
                import refgate:filter/project-batches@0.1.1;
                import refgate:filter/log@0.1.1;
                import refgate:filter/clock@0.1.1;
            }
        "#,
        world: "refgate:sdk/imports",
        generate_all,
    });
}

pub use imports::refgate::filter::batches::{RefBatch, Verdicts};
pub use imports::refgate::filter::clock;
pub use imports::refgate::filter::log;
pub use imports::refgate::filter::project_batches::{ProjectBatch, Selection};

// One world per exported interface: an export macro carries the description of its own world only, so a component
// exports what its author exported and nothing else. The three published worlds all share `lifecycle`, whose macro
// can exist only once in a crate.

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package refgate:sdk; world lifecycle { export refgate:filter/lifecycle@0.1.1; }",
        world: "refgate:sdk/lifecycle",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
    });
    pub use exports::refgate::filter::lifecycle::Guest;
}

pub mod push {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package refgate:sdk; world push { export refgate:filter/push@0.1.1; }",
        world: "refgate:sdk/push",
        with: {
            "refgate:filter/batches@0.1.1": crate::bindings::imports::refgate::filter::batches,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_push",
    });
    pub use exports::refgate::filter::push::Guest;
}

pub mod fetch {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package refgate:sdk; world fetch { export refgate:filter/fetch@0.1.1; }",
        world: "refgate:sdk/fetch",
        with: {
            "refgate:filter/batches@0.1.1": crate::bindings::imports::refgate::filter::batches,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_fetch",
    });
    pub use exports::refgate::filter::fetch::Guest;
}

pub mod projects {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package refgate:sdk; world projects { export refgate:filter/projects@0.1.1; }",
        world: "refgate:sdk/projects",
        with: {
            "refgate:filter/project-batches@0.1.1": crate::bindings::imports::refgate::filter::project_batches,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_projects",
    });
    pub use exports::refgate::filter::projects::Guest;
}
