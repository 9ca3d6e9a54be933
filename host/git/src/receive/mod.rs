//! The receiving side of a push, as git's hook `proc-receive` sees it: its protocol, the settings of the repository that
//! a hook which moves refs itself has to heed, and the hooks that git would have run.
//!
//! git leaves `receive.deny*`, the `update` hook and the wording of the reflog to whoever moves the refs (git 2.47,
//! builtin/receive-pack.c: `execute_commands` skips `update` for such commands).

mod hooks;
mod protocol;
mod settings;

pub use hooks::{UpdateHook, hooks_dir};
pub use protocol::PART_OF_A_PUSH;
pub use protocol::{Answer, Command, Request, one_line};
pub use settings::{
    Deny, LogRefs, Setting, Settings, add_setting, remove_setting, settings, settings_of_file,
};
