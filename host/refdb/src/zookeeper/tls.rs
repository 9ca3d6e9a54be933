//! Certificates for a protected connection, read once.

use std::path::Path;

use refgate_core::RefDbError;
use zookeeper_client::TlsOptions;

use crate::access::Tls;

/// Where the certificates that the system trusts are on the usual systems.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Reads what `tls` names.
pub(super) fn options(tls: &Tls, wrong: impl Fn(&str) -> RefDbError) -> Result<TlsOptions, RefDbError> {
    // With two providers in one build rustls wants to be told. Somebody who chose before is right.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let read = |what: &str, path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|e| wrong(&format!("cannot read the {what} `{}`: {e}", path.display())))
    };
    let system = || SYSTEM.iter().map(Path::new).find(|path| path.exists());
    let Some(ca) = tls.ca.as_deref().or_else(system) else {
        return Err(wrong("this system has no file of trusted certificates; name one with `caFile`"));
    };
    let options = TlsOptions::new()
        .with_pem_ca(&read("certificates", ca)?)
        .map_err(|e| wrong(&format!("no usable certificates in `{}`: {e}", ca.display())))?;
    match &tls.identity {
        None => Ok(options),
        Some((cert, key)) => options
            .with_pem_identity(&read("certificate", cert)?, &read("key", key)?)
            .map_err(|e| wrong(&format!("`{}` and `{}` do not work: {e}", cert.display(), key.display()))),
    }
}
