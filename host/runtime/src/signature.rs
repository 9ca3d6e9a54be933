//! Who answers for a plugin: pinned digests, and detached signatures as `ssh-keygen -Y sign` makes them.

mod signers;

use std::fmt;

use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

pub use signers::Signers;

use crate::digest;

/// The namespace of signatures of plugins: one that was made for something else does not count.
pub const NAMESPACE: &str = "refgate-plugin";

/// Bytes of a signature. One of the longest keys has 2 KiB.
const SIGNATURE_BYTES: usize = 16 << 10;

/// Signatures of one file.
const SIGNATURES: usize = 8;

/// How each of them begins.
const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----";

/// What has to vouch for a plugin before it is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// That it is in the plugin directory.
    #[default]
    None,
    /// A digest that the operator wrote down.
    Checksum,
    /// The signature of a known signer.
    Signature,
}

impl Require {
    /// `none`, `checksum` or `signature`.
    pub fn from_name(name: &str) -> Option<Require> {
        match name {
            "none" => Some(Require::None),
            "checksum" => Some(Require::Checksum),
            "signature" => Some(Require::Signature),
            _ => None,
        }
    }
}

/// What an operator demands of plugins.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// What has to vouch for each of them.
    pub require: Require,
    /// Whose signatures count.
    pub signers: Signers,
}

impl Provenance {
    /// Whether a plugin may be loaded; who signed it, if a known signer did.
    ///
    /// `pinned` are the digests that the operator wrote down, each as `sha256:` and 64 hex digits: another one refuses the
    /// plugin whatever is required, and none at all allows any. `sig` is what the file `NAME.wasm.sig` holds: one signature
    /// or several, of which one has to count. One that does not count refuses only where one is required.
    pub fn check(
        &self,
        name: &str,
        wasm: &[u8],
        pinned: &[String],
        sig: Option<&[u8]>,
    ) -> Result<Option<String>, String> {
        if !pinned.is_empty() {
            check_digest(name, wasm, pinned)?;
        } else if self.require == Require::Checksum {
            return Err(format!(
                "it has no pinned digest, and the configuration requires one: if you trust this file, write `digest = \
                 \"{}\"` into `{name}.toml`",
                digest(wasm)
            ));
        }
        let signer = match sig {
            Some(sig) => verify(wasm, sig, &self.signers),
            None => Err(format!(
                "it is not signed: there is no `{name}.wasm.sig`; sign it with `refgate sign {name}.wasm --key KEY`"
            )),
        };
        match signer {
            Ok(signer) => Ok(Some(signer.to_string())),
            Err(cause) if self.require == Require::Signature => Err(cause),
            Err(_) => Ok(None),
        }
    }
}

fn check_digest(name: &str, wasm: &[u8], pinned: &[String]) -> Result<(), String> {
    for one in pinned {
        let hex = one.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("the pinned digest `{one}` is none: write `sha256:` and 64 hex digits"));
        }
    }
    let found = digest(wasm);
    if pinned.iter().any(|one| one.eq_ignore_ascii_case(&found)) {
        return Ok(());
    }
    Err(format!(
        "its digest is {found}, and {} is pinned: put the right file there, or, if you trust this one, add its digest to \
         `digest` in `{name}.toml`",
        pinned.join(" or ")
    ))
}

/// Who signed a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// As the list of signers names them.
    pub principals: String,
    /// The key: `SHA256:` and base64.
    pub fingerprint: String,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.principals, self.fingerprint)
    }
}

/// Who of `signers` signed `wasm`; `sig` is what the signature file holds: one signature, or several, of which one has to
/// count. So a file and its signature can be replaced one after the other.
///
/// # Errors
/// Why it does not count: not a signature, made for something else, by an unknown key, or of other bytes.
pub fn verify(wasm: &[u8], sig: &[u8], signers: &Signers) -> Result<Signer, String> {
    first_that_counts(sig, |one| {
        let (signature, fingerprint) = for_plugins(one)?;
        let by = signature.public_key();
        let Some(principals) = signers.principals(by) else {
            return Err(format!(
                "it is signed by an unknown key, {fingerprint}: if you trust it, add its public key to the list of signers"
            ));
        };
        of_these_bytes(wasm, &signature, &format!("{principals} ({fingerprint})"))?;
        Ok(Signer { principals: principals.to_owned(), fingerprint })
    })
}

/// The key that signed `wasm`, as `SHA256:` and base64, whether anybody knows it or not.
///
/// # Errors
/// As [`verify`], but for unknown keys.
pub fn signed_by(wasm: &[u8], sig: &[u8]) -> Result<String, String> {
    first_that_counts(sig, |one| {
        let (signature, fingerprint) = for_plugins(one)?;
        of_these_bytes(wasm, &signature, &fingerprint)?;
        Ok(fingerprint)
    })
}

/// What is found for the first signature of a file that counts; else why none does.
fn first_that_counts<T>(sig: &[u8], count: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, String> {
    let begins =
        (0..sig.len()).filter(|at| sig[*at..].starts_with(BEGIN) && (*at == 0 || sig[at - 1] == b'\n'));
    // What stands before the first one belongs to it, and is then found to be wrong.
    let mut starts: Vec<usize> = std::iter::once(0).chain(begins.skip(1)).collect();
    if starts.len() > SIGNATURES {
        return Err(format!(
            "its signature file has more than {SIGNATURES} signatures: leave those of old files out"
        ));
    }
    starts.push(sig.len());
    let mut whys = Vec::new();
    for part in starts.windows(2) {
        match count(&sig[part[0]..part[1]]) {
            Ok(found) => return Ok(found),
            Err(why) => whys.push(why),
        }
    }
    match whys.len() {
        1 => Err(whys.remove(0)),
        n => Err(format!("none of its {n} signatures counts: {}", whys.join("; "))),
    }
}

/// A signature that was made for plugins, by a kind of key that is taken; and the key.
fn for_plugins(sig: &[u8]) -> Result<(SshSig, String), String> {
    let signature = read(sig)?;
    let by = signature.public_key();
    let fingerprint = by.fingerprint(HashAlg::Sha256).to_string();
    if signature.namespace() != NAMESPACE {
        let other: String = signature.namespace().chars().take(80).flat_map(char::escape_default).collect();
        return Err(format!(
            "its signature was made for `{other}`, not for plugins: sign with `ssh-keygen -Y sign -n {NAMESPACE}`"
        ));
    }
    supported(by).map_err(|e| format!("its signature by {fingerprint} cannot be verified: {e}"))?;
    Ok((signature, fingerprint))
}

fn of_these_bytes(wasm: &[u8], signature: &SshSig, by: &str) -> Result<(), String> {
    PublicKey::from(signature.public_key().clone()).verify(NAMESPACE, wasm, signature).map_err(|_| {
        format!(
            "its signature by {by} is of other bytes: the plugin or its signature was changed or replaced; get both again"
        )
    })
}

fn read(sig: &[u8]) -> Result<SshSig, String> {
    let damaged = |why: &str| {
        format!("its signature is damaged ({why}): a signature begins with `-----BEGIN SSH SIGNATURE-----`")
    };
    if sig.is_empty() {
        return Err(damaged("it is empty"));
    }
    if sig.len() > SIGNATURE_BYTES {
        return Err(damaged("it is too long for one"));
    }
    let signature = SshSig::from_pem(sig).map_err(|e| damaged(&e.to_string()))?;
    // There is one way to write it. The reader takes others, whose lengths and versions do not fit.
    let written = signature.to_pem(LineEnding::LF).map_err(|e| damaged(&e.to_string()))?;
    let same =
        std::str::from_utf8(sig).is_ok_and(|sig| sig.trim_end().lines().eq(written.trim_end().lines()));
    if same { Ok(signature) } else { Err(damaged("its parts do not fit together")) }
}

/// What is verified: two kinds of keys that are short, fast and everywhere.
fn supported(key: &KeyData) -> Result<(), String> {
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => Ok(()),
        other => Err(format!(
            "keys of kind `{other}` are not taken: use an ed25519 key, made by `ssh-keygen -t ed25519`"
        )),
    }
}

/// Why a plugin could not be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignError {
    /// The key is protected by a passphrase, for which ssh-keygen can ask.
    Encrypted,
    /// Anything else.
    Other(String),
}

/// The signature of `wasm`: what belongs into `NAME.wasm.sig`. `private_key` is what an OpenSSH key file holds.
///
/// Made of an ed25519 key it is the same, byte for byte, as that of `ssh-keygen -Y sign -n refgate-plugin`.
pub fn sign(wasm: &[u8], private_key: &[u8]) -> Result<(String, String), SignError> {
    let key = PrivateKey::from_openssh(private_key).map_err(|e| {
        SignError::Other(format!(
            "it is not a private key in OpenSSH's format ({e}): make one with `ssh-keygen -t ed25519`"
        ))
    })?;
    supported(key.public_key().key_data()).map_err(SignError::Other)?;
    if key.is_encrypted() {
        return Err(SignError::Encrypted);
    }
    let failed = |e: ssh_key::Error| SignError::Other(format!("it cannot sign: {e}"));
    let signature = key.sign(NAMESPACE, HashAlg::Sha512, wasm).map_err(failed)?;
    let text = signature.to_pem(LineEnding::LF).map_err(failed)?;
    Ok((text, key.fingerprint(HashAlg::Sha256).to_string()))
}

#[cfg(test)]
mod tests;
