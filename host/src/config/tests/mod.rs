//! Tests of the configuration: files as people write them, and what they are told.

mod good;
mod refused;
mod syntax;

use std::path::{Path, PathBuf};

use super::{Config, ConfigErrors, Item, Origin};

/// A directory with files that only their owner can write.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    }
    fn load(&self, text: &str) -> Result<Config, ConfigErrors> {
        Config::load(&self.write("refgate.config", text))
    }
}

fn from_keys(keys: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let origin = Origin::new(Path::new("cases.json"), 0);
    let items: Vec<Item> = keys.iter().map(|(k, v)| Item::from_dotted(k, v, &origin).unwrap()).collect();
    Config::from_items(&items, Path::new("/cases"))
}
