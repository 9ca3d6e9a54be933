//! Components from core modules in text form, for what no compiler would write.

use std::fs;
use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The push filter that does the deed of `tests/programs/wat/NAME.wat`.
pub fn deed(name: &str) -> Vec<u8> {
    let read = |file: String| fs::read_to_string(root().join("tests/programs/wat").join(file)).unwrap();
    let frame = read("frame.wat".to_owned());
    let (before, after) = frame.split_once(";; DEED\n").unwrap();
    let mut module = wat::parse_str(format!("{before}{}{after}", read(format!("{name}.wat")))).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("wit")).unwrap();
    let world = resolve.select_world(&[package], Some("push-filter")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}
