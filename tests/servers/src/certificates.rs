//! Certificates for tests: an authority, a server at 127.0.0.1, a client, and a stranger.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// Writes certificates.
#[derive(Debug)]
pub struct Certificates;

impl Certificates {
    /// Writes `ca.pem`; `server.pem`, `client.pem` that it signed, each with its `.key`; and `stranger.pem`, an authority
    /// that signed none of them.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn make(dir: &Path) {
        let ca = authority("refgate test authority");
        let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("a file");
        write("ca.pem", ca.pem());
        write("stranger.pem", authority("nobody").pem());
        for (name, purposes) in [
            // The gateway inside etcd is a client of the server, with the same certificate.
            ("server", vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]),
            ("client", vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ] {
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let mut params = CertificateParams::new(names).expect("names");
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.extended_key_usages = purposes;
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &ca).expect("a certificate");
            write(&format!("{name}.pem"), certificate.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}
