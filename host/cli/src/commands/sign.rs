//! `sign` and `verify`: detached signatures of filters, as `ssh-keygen -Y` makes and takes them.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use refgate_host::Error;
use refgate_runtime::{Manifest, NAMESPACE, SignError, Signers, open_file, read_side_file};
use serde_json::json;

use super::site;
use crate::output::{Cell, Output};

/// Arguments of `sign`.
#[derive(clap::Args, Debug)]
pub struct SignArgs {
    /// The filter
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// A private key of kind ed25519 in OpenSSH's format, without a passphrase
    #[arg(long, value_name = "KEY")]
    pub key: PathBuf,
}

/// Arguments of `verify`.
#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    /// The filter; its signature is beside it, in FILE.wasm.sig
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// Whose signatures count, in the format of ssh's and git's allowed_signers; the default is plugins.signers
    #[arg(long, value_name = "FILE")]
    pub signers: Option<PathBuf>,
}

/// Bytes of a key file.
const KEY_BYTES: u64 = 64 << 10;

/// The signature of `file`: the same name with `.sig` after it.
pub fn signature_file(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".sig");
    name.into()
}

/// `refgate sign`.
pub fn sign(args: &SignArgs, output: &Output) -> Result<u8, Error> {
    let wasm = plugin(&args.file)?;
    let (signature, key) = refgate_runtime::sign(&wasm, &private_key(&args.key)?).map_err(|e| match e {
        SignError::Encrypted => Error::usage(format!(
            "the key `{}` is protected by a passphrase",
            args.key.display()
        ))
        .hint(format!(
            "ssh-keygen asks for it and writes the same file: ssh-keygen -Y sign -n {NAMESPACE} -f {} {}",
            args.key.display(),
            args.file.display()
        )),
        SignError::Other(cause) => {
            Error::usage(format!("the key `{}` cannot be used: {cause}", args.key.display()))
        }
    })?;
    let file = signature_file(&args.file);
    let before = match read_side_file(&file) {
        Ok(before) => Some(before),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(Error::failed(format!("cannot read `{}`: {e}", file.display()))),
    };
    let replaced = before.is_some_and(|before| before != signature.as_bytes());
    write(&file, signature.as_bytes())
        .map_err(|e| Error::failed(format!("cannot write `{}`: {e}", file.display())))?;
    if output.json {
        output.document(&json!({
            "command": "sign",
            "file": args.file.display().to_string(),
            "signature": file.display().to_string(),
            "key": key,
            "digest": refgate_runtime::digest(&wasm),
            "replaced": replaced,
        }));
    } else {
        let how = if replaced { "in the place of another signature" } else { "written" };
        output.text(&format!("{}: {how}, by the key {key}", file.display()));
    }
    Ok(0)
}

/// `refgate verify`: exit code 1 for everything that does not count.
pub fn verify(config: &Path, args: &VerifyArgs, output: &Output) -> Result<u8, Error> {
    let signers = match &args.signers {
        Some(list) => Some(read_signers(list)?),
        None => configured_signers(config)?,
    };
    let signers = signers.ok_or_else(|| {
        Error::usage("no list of signers is given")
            .hint("name one with `--signers FILE`, or as `plugins.signers` in the configuration")
    })?;
    let wasm = plugin(&args.file)?;
    let file = signature_file(&args.file);
    let refused = |cause: String| Error::failed(format!("`{}` is refused: {cause}", args.file.display()));
    let sig = read_side_file(&file).map_err(|e| match e.kind() {
        ErrorKind::NotFound => refused(format!("it is not signed: there is no `{}`", file.display()))
            .hint("make one with `refgate sign`, or get the file from whoever gave you the filter"),
        _ => Error::failed(format!("cannot read `{}`: {e}", file.display())),
    })?;
    let signer = refgate_runtime::verify(&wasm, &sig, &signers).map_err(refused)?;
    if output.json {
        output.document(&json!({
            "command": "verify",
            "file": args.file.display().to_string(),
            "digest": refgate_runtime::digest(&wasm),
            "signer": {"principals": signer.principals, "key": signer.fingerprint},
        }));
    } else {
        let file = format!("{}: ", args.file.display());
        output.line(vec![file.into(), Cell::good("signed"), format!(" by {signer}").into()]);
    }
    Ok(0)
}

/// The list of `plugins.signers`, if there is a configuration and it names one.
pub fn configured_signers(config: &Path) -> Result<Option<Signers>, Error> {
    let config = if config.exists() { Some(site::config(config)?) } else { None };
    config.and_then(|config| config.plugins.signers).map(|list| read_signers(&list)).transpose()
}

fn read_signers(list: &Path) -> Result<Signers, Error> {
    let unusable =
        |e: String| Error::usage(format!("the list of signers `{}` cannot be used: {e}", list.display()));
    let text = read_side_file(list).map_err(|e| unusable(e.to_string()))?;
    let text = String::from_utf8(text).map_err(|e| unusable(e.to_string()))?;
    // As when a plugin is loaded: a list that others can write says nothing.
    refgate_runtime::check_place(list).map_err(unusable)?;
    Signers::parse(&text).map_err(unusable)
}

/// Only what could be a filter is signed or verified: a mistaken file name must not end in a good signature.
fn plugin(file: &Path) -> Result<Vec<u8>, Error> {
    let wasm = refgate_runtime::read_component(file)
        .map_err(|e| Error::usage(format!("cannot read the filter `{}`: {e}", file.display())))?;
    Manifest::read(&wasm).map_err(|e| Error::usage(format!("`{}` is no filter: {e}", file.display())))?;
    Ok(wasm)
}

/// As ssh has it: a private key that others can read is not private.
fn private_key(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable =
        |e: std::io::Error| Error::usage(format!("cannot read the key `{}`: {e}", path.display()));
    let (file, metadata) = open_file(path).map_err(unreadable)?;
    let mode = metadata.mode();
    if mode & 0o077 != 0 {
        return Err(Error::usage(format!("others can read the key `{}`", path.display())).hint(format!(
            "chmod go= {}; or make a new key, as this one may be known to others",
            path.display()
        )));
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Others see the old signature or the new one.
fn write(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(text)?;
    new.as_file().set_permissions(Permissions::from_mode(0o644))?;
    new.persist(file).map(drop).map_err(|e| e.error)
}
